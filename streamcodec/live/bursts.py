"""Losses that come in bursts, for simulated networks. Source: Gilbert (1960), Elliott (1963); here
all is lost or nothing.
"""

from __future__ import annotations


class GilbertElliott:
    """A chain of two states: `share` (0..1) of all packets are lost, in bursts of `burst` packets
    in the mean.
    """

    def __init__(self, share: float, burst: float) -> None:
        self._leave = 1 / burst
        self._enter = self._leave * share / (1 - share)
        self._losing = False

    def lost(self, draw: float) -> bool:
        """`draw`: evenly out of 0..1, one for each packet."""
        self._losing = bool(draw < (1 - self._leave if self._losing else self._enter))
        return self._losing
