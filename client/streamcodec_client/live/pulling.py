"""What is heard of all talkers next, decoded in steps that they share."""

from __future__ import annotations

from collections.abc import Iterable

from streamcodec.errors import PayloadError
from streamcodec.units import Pcm

from .codec import Codec
from .player import StreamPlayer


def pull_together(
    players: Iterable[StreamPlayer], samples: int, codec: Codec
) -> list[tuple[StreamPlayer, Pcm]]:
    """The next [samples, C] of each player that has something to hear."""
    pulls = [_Pull(player, samples) for player in players]
    while waiting := [pull for pull in pulls if not pull.ended]:
        outcomes = codec.decode([p.player.decoder for p in waiting], [p.payload for p in waiting])
        for pull, outcome in zip(waiting, outcomes, strict=True):
            pull.go_on(outcome)
    return [(pull.player, pull.pcm) for pull in pulls if pull.pcm is not None]


class _Pull:
    """A player on the way to its next block. Until that has `ended`, its decoder must decode
    `payload`, or conceal where that is None; then `pcm` is the block, or None for nothing to hear.
    """

    def __init__(self, player: StreamPlayer, samples: int) -> None:
        self.player, self.ended = player, False
        self.payload: bytes | None = None
        self.pcm: Pcm | None = None
        self._steps = player.pull(samples)
        self.go_on(None)

    def go_on(self, outcome: Pcm | PayloadError | None) -> None:
        """`outcome`: what `payload` was decoded to; None for the first step."""
        try:
            if outcome is None:
                self.payload = next(self._steps)
            elif isinstance(outcome, PayloadError):
                self.payload = self._steps.throw(outcome)
            else:
                self.payload = self._steps.send(outcome)
        except StopIteration as end:
            self.ended, self.pcm = True, end.value
