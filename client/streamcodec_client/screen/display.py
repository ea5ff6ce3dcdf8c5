"""The screen of a live session: who is there, how loud, how well; and keys."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Sequence
from typing import TextIO

import click
from rich.console import Console, Group
from rich.live import Live

from ..audio.level import SILENCE
from ..clock import Clock
from ..live.controls import Controls
from ..live.device_menu import DeviceMenu, Part
from ..live.member import Member
from ..live.recorder import Recorder
from ..report.reporter import Reporter
from ..report.statistics import ReceiverStatistics, SenderStatistics, StreamStatistics
from .keys import typed
from .noise import Noise
from .stutter import Stutter, change_a_second
from .view import LEAST_WIDTH, Myself, Notice, Person, View, lines_of

INTERVAL_S = 0.1
NOTICES = 3
NOTICE_S = 12.0
RATE_OVER_S = 2.0  # bit rates are those of so long
CHOOSE = "choose a microphone with d, or in the system's sound settings"


class Screen:
    """In place of a Reporter's lines. It has the terminal from `begin` to `close_line`. recorder:
    that a key switches on and off; parts: whose devices the user may choose; both to be set before
    it begins.
    """

    interval_s = INTERVAL_S

    def __init__(
        self,
        clock: Clock,
        where: str,
        name: str,
        *,
        push_to_talk: bool = False,
        verbose: bool = False,
    ) -> None:
        """where: which room of which relay. verbose: shows at the end what libraries wrote."""
        self.recorder: Recorder | None = None
        self.parts: Sequence[Part] = ()
        self._clock, self._where, self._name = clock, where, name
        self._push_to_talk, self._verbose = push_to_talk, verbose
        self._began_s = self._now_s()
        self._lines = Reporter(clock, as_json=False)  # of the summary
        self._noise = Noise()
        self._open = contextlib.ExitStack()
        self._live: Live | None = None
        self._state, self._trouble = "connecting", ""
        self._width = 0  # of what stands on the terminal
        self._listening: tuple[tuple[str, ...], int] = ((), 0)
        self._notices: deque[tuple[float, Notice]] = deque(maxlen=NOTICES)
        self._member: Member | None = None
        self._controls: Controls | None = None
        self._streams: list[int] = []  # of the people on the screen
        self._sent: deque[tuple[float, int]] = deque()  # payload bytes until then
        self._stutter = Stutter(self._began_s)
        self._due_s: float | None = None  # when `second` ought to be called next

    def begin(self, member: Member, stop: asyncio.Event) -> None:
        """On the event loop: shows what is known, and takes keys. q sets `stop`."""
        self._member = member
        self._controls = Controls(
            member.sender,
            member.receiver,
            stop.set,
            push_to_talk=self._push_to_talk,
            recorder=self.recorder,
            devices=DeviceMenu(self.parts),
        )
        with contextlib.ExitStack() as opened:
            terminal: TextIO = opened.enter_context(self._noise.caught())
            console = Console(file=terminal, force_terminal=True)
            self._live = Live(console=console, auto_refresh=False, transient=True)
            opened.enter_context(self._live)
            opened.enter_context(typed(self._press))
            self.second(False, None, None)
            self._open = opened.pop_all()  # else, where that fails, nobody would see why

    def notice(self, text: str) -> None:
        """News."""
        self._say(Notice(text))

    def warning(self, text: str) -> None:
        """What the user must know. From any thread."""
        self._say(Notice(text, warns=True))

    def listening(self, names: Sequence[str], count: int) -> None:
        """Who only listens: so many, some of them by name."""
        self._listening = tuple(names), count

    def connection(self, state: str) -> None:
        """What the connection to the relay does."""
        self._state = state

    def trouble(self, text: str) -> None:
        """What is wrong with the microphone as long as it lasts; empty: nothing. From any
        thread.
        """
        self._trouble = text

    def summary(self, sent: SenderStatistics | None, heard: ReceiverStatistics | None) -> None:
        """The lines at the end of a session."""
        self._lines.summary(sent, heard)

    def close_line(self) -> None:
        """Gives the terminal back."""
        if self._controls is not None:
            self._controls.devices.end()
        self._live = None
        self._open.close()
        if self._verbose:
            for line in self._noise.lines:
                click.echo(line, err=True)
            self._noise.lines.clear()

    def _press(self, key: str) -> None:
        if self._controls is not None:
            self._controls.press(key, self._streams, self._now_s())

    def _say(self, notice: Notice) -> None:
        if self._live is None:
            self._lines.warning(notice.text)
        else:
            self._notices.append((self._now_s(), notice))

    def second(
        self,
        connected: bool,
        sent: SenderStatistics | None,
        heard: ReceiverStatistics | None,
        rtt_ms: float | None = None,
    ) -> None:
        """Draws it all anew; each INTERVAL_S."""
        if self._live is None or self._controls is None:
            return
        now_s = self._now_s()
        if self._due_s is not None:
            self._stutter.woke(now_s, self._due_s)
        streams = [] if heard is None else list(heard.streams)
        self._streams = [stream.stream for stream in streams]
        self._controls.tick(self._streams, now_s)
        view = View(
            self._where,
            "connected" if connected else self._state,
            connected,
            now_s - self._began_s,
            rtt_ms,
            self._myself(sent, now_s, connected),
            [self._person(n, stream) for n, stream in enumerate(streams)],
            heard is not None,
            self._volume_db(),
            self._troubles(sent, heard, now_s),
            # a copy: other threads add to it meanwhile
            [notice for at_s, notice in tuple(self._notices) if now_s - at_s < NOTICE_S],
            self._controls.help_open,
            *self._listening,
            None if self.recorder is None else self.recorder.on,
            self._controls.devices.shown(),
        )
        width = self._live.console.width
        if width != self._width:
            # Most terminals break the lines that stand there anew, and none says into how many.
            if self._width:
                self._live.console.clear()
            self._width = width
        self._live.update(Group(*lines_of(view, width)), refresh=True)
        self._due_s = self._now_s() + INTERVAL_S

    def _myself(
        self, sent: SenderStatistics | None, now_s: float, connected: bool
    ) -> Myself | None:
        sender = None if self._member is None else self._member.sender
        if sender is None or sent is None:
            return None
        return Myself(
            self._name,
            sender.level,
            sender.muted,
            self._controls is not None and self._controls.push_to_talk,
            8 * change_a_second(self._sent, now_s, sent.payload_bytes, RATE_OVER_S),
            len(sent.listeners),
            sent.lost_ms,
            connected,
            sender.finished,
        )

    def _person(self, number: int, stream: StreamStatistics) -> Person:
        assert self._member is not None
        receiver = self._member.receiver
        assert receiver is not None
        volumes, key = receiver.volumes, stream.stream
        return Person(
            str(number + 1) if number < 9 else "",
            stream.name,
            receiver.levels.get(key, SILENCE),
            key in receiver.muted_streams,
            stream.mouth_to_ear_ms,
            stream.mos,
            stream.concealed_percent,
            None if key in volumes.muted else volumes.stream_db.get(key, 0.0),
            self._controls is not None and self._controls.chosen == key,
        )

    def _volume_db(self) -> float:
        receiver = None if self._member is None else self._member.receiver
        return 0.0 if receiver is None else receiver.volumes.overall_db

    def _troubles(
        self, sent: SenderStatistics | None, heard: ReceiverStatistics | None, now_s: float
    ) -> list[str]:
        lasting = [self._trouble, CHOOSE] if self._trouble else []
        return lasting + [text for text in (self._stutters(heard, now_s),) if text]

    def _stutters(self, heard: ReceiverStatistics | None, now_s: float) -> str:
        receiver = None if self._member is None else self._member.receiver
        if heard is None or receiver is None:
            return ""
        part = next((part for part in self.parts if part.kind == "loudspeaker"), None)
        loudspeaker = None if part is None or part.device is None else part.device.name
        return self._stutter.reason(now_s, heard.underruns, receiver.slowest_ms, loudspeaker)

    def _now_s(self) -> float:
        return self._clock.now_ns() / 1e9


def fits(*, as_json: bool, quiet: bool) -> bool:
    """Whether there is a terminal for a screen, and the user wants one."""
    return (
        not as_json
        and not quiet
        and sys.stderr.isatty()
        and Console(stderr=True).width >= LEAST_WIDTH
    )
