"""The talkers of a room: who is heard, who may come back, and who cannot be heard. Used by the
receiver's worker thread only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from streamcodec.errors import StreamcodecError
from streamcodec.wire.session import StreamInfo, StreamStart

from ..report.statistics import StreamStatistics, StreamTotals
from .admission import Admission
from .inbox import Joined, Left, Muted, StreamKey
from .player import StreamPlayer

MAX_TALKERS = 16  # decoded at once; later ones are not heard until somebody leaves
MAX_AWAITED = MAX_TALKERS  # streams that ended and whose players are kept, should they go on


class Talkers:
    """Players by stream. The player of a stream that ended is kept when all is played: should the
    stream go on over another connection, its player still knows the network. A new player would
    take the backlog of an outage, which arrives first, for the network's delay, and play it.
    """

    def __init__(self, admission: Admission, notify: Callable[[str], None]) -> None:
        """`notify` is told who cannot be heard, and why."""
        self._admission, self._notify = admission, notify
        self._heard: dict[StreamKey, StreamPlayer] = {}
        self._awaited: dict[int, StreamPlayer] = {}  # ended and played out, by stream
        # Streams without a player: None for one that cannot be decoded; the others wait for
        # somebody to leave.
        self._unheard: dict[StreamKey, Joined | None] = {}
        self._unheard_muted: set[StreamKey] = set()  # of these, who sends nothing for now
        self._forgotten = StreamTotals()  # of players that are gone for good
        self._met_somebody = self._lost_connection = False
        self._broke_off_ns: int | None = None

    @property
    def heard(self) -> Iterable[StreamPlayer]:
        return self._heard.values()

    @property
    def all_said(self) -> bool:
        """There were talkers, each has left or is muted, and all they said was played. False while
        our own connection is broken: they may still be there.
        """
        speaking = self._unheard.keys() - self._unheard_muted
        silent = all(player.silent for player in self._heard.values()) and not speaking
        return self._met_somebody and not self._lost_connection and silent

    @property
    def broke_off_ns(self) -> int | None:
        """When a talker's stream last ended without the announcement that nothing follows: its
        connection may have broken. None where all of them have gone on.
        """
        return self._broke_off_ns

    def player(self, key: StreamKey) -> StreamPlayer | None:
        return self._heard.get(key)

    def join(self, joined: Joined) -> None:
        key, talker = joined.key, joined.talker
        known = self._heard.get(key)
        if known is not None:
            if _same_stream(known.talker.info, talker.info):
                self._broke_off_ns = None
                # Only the rate changed, or the talker's connection: decoding goes on.
                known.resume()
                return
            self._forget(self._heard.pop(key))
        self._lost_connection, self._broke_off_ns = False, None
        player = self._reclaimed(joined)
        if player is not None:
            player.resume()
        else:
            player = self._admitted(joined)
        self._met_somebody = True
        if player is not None:
            self._heard[key] = player
            self._unheard.pop(key, None)
            if key in self._unheard_muted:
                self._unheard_muted.remove(key)
                player.mute(True)

    def leave(self, left: Left, now_ns: int) -> None:
        """What is buffered is still played."""
        for key, player in self._heard.items():
            if _concerns(left, key):
                if not player.muted:
                    self._broke_off_ns = now_ns
                player.end()
                self._lost_connection = self._lost_connection or left.stream is None
        for key in [key for key in self._unheard if _concerns(left, key)]:
            del self._unheard[key]
            self._unheard_muted.discard(key)

    def mute(self, muted: Muted) -> None:
        player = self._heard.get(muted.key)
        if player is not None:
            player.mute(muted.muted)
        elif muted.muted and muted.key in self._unheard:
            self._unheard_muted.add(muted.key)
        else:
            self._unheard_muted.discard(muted.key)

    def remove_finished(self) -> None:
        """Whoever has left and is played out makes room for those who wait."""
        for key in [key for key, player in self._heard.items() if player.finished]:
            self._forget(self._awaited.pop(key.stream, None))
            self._awaited[key.stream] = self._heard.pop(key)
        while len(self._awaited) > MAX_AWAITED:
            self._forget(self._awaited.pop(next(iter(self._awaited))))
        for waiting in list(self._unheard.values()):
            if waiting is not None and len(self._heard) < MAX_TALKERS:
                self.join(waiting)

    def statistics(self) -> tuple[StreamTotals, tuple[StreamStatistics, ...]]:
        """-> sums over all streams since the beginning, statistics of those that are heard now."""
        streams = tuple(player.statistics() for player in self._heard.values())
        totals = self._forgotten
        for stream in streams:
            totals = totals.plus(stream)
        for player in self._awaited.values():
            totals = totals.plus(player.statistics())
        return totals, streams

    def _reclaimed(self, joined: Joined) -> StreamPlayer | None:
        """The player that the same stream had before our connection, or its talker's, broke; taken
        from where it was kept.
        """
        stream, talker = joined.key.stream, joined.talker
        earlier = [
            key
            for key in self._heard
            if key.connection < joined.key.connection and key.stream == stream
        ]
        player = None
        if earlier:
            player = self._heard.pop(earlier[-1])
        elif len(self._heard) < MAX_TALKERS:
            player = self._awaited.pop(stream, None)
        if player is not None and not _same_talker(player.talker, talker):
            # After our connection broke, the relay may give the number to somebody else.
            self._forget(player)
            return None
        return player

    def _admitted(self, joined: Joined) -> StreamPlayer | None:
        """A new player; None, with a notice, where there can be none."""
        talker, full = joined.talker, len(self._heard) >= MAX_TALKERS
        try:
            if full:
                self._admission.check(talker.info)
                raise StreamcodecError(
                    f"{MAX_TALKERS} talkers are heard already; it will be when one of them leaves"
                )
            return self._admission.player(talker)
        except StreamcodecError as error:
            self._notify(f"{talker.name} (stream {talker.stream}) cannot be heard: {error}")
            self._unheard[joined.key] = joined if full else None
            return None

    def _forget(self, player: StreamPlayer | None) -> None:
        if player is not None:
            self._forgotten = self._forgotten.plus(player.statistics())


def _concerns(left: Left, key: StreamKey) -> bool:
    return key.connection == left.connection and left.stream in (None, key.stream)


def _same_stream(one: StreamInfo, other: StreamInfo) -> bool:
    """Whether they differ in the bit rate at most, so that one player does for both."""
    return dataclasses.replace(one, bitrate_bps=other.bitrate_bps) == other


def _same_talker(one: StreamStart, other: StreamStart) -> bool:
    return one.name == other.name and _same_stream(one.info, other.info)
