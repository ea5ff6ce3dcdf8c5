"""Where in a stream a playout buffer is, as a value."""

from __future__ import annotations

import dataclasses

from ..wire.packet import Flags


@dataclasses.dataclass(frozen=True, slots=True)
class Position:
    """Unwrapped sequence numbers; all None before the first packet is played.

    due: the number whose turn is next; None while nothing plays. polled: the last number that was
    played or concealed. played: the last number that was played. paused: the packet that was played
    last describes background noise (DTX), so that nothing follows for now, which is no loss.
    """

    due: int | None = None
    polled: int | None = None
    played: int | None = None
    paused: bool = False

    def follows(self, number: int) -> bool:
        """The decoder has just decoded or concealed the packet before `number`."""
        return self.polled is not None and number == self.polled + 1

    def after_playing(self, number: int, flags: Flags) -> Position:
        paused = Flags.DTX in flags
        return Position(None if paused else number + 1, number, number, paused)

    def after_concealing(self, number: int) -> Position:
        return dataclasses.replace(self, due=number + 1, polled=number)

    def skipped_to(self, number: int) -> Position:
        """What lies before `number` is neither played nor concealed."""
        return dataclasses.replace(self, due=number)

    def stopped(self) -> Position:
        """Nothing plays until a new stretch of packets is due."""
        return dataclasses.replace(self, due=None)
