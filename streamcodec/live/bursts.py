"""Packet losses in bursts, for simulated networks. Source: Gilbert (1960), Elliott (1963), with all
packets lost in the bad state and none in the good one.
"""

from __future__ import annotations


class GilbertElliott:
    """A Markov chain of two states: `share` (0..1, below 1) of all packets are lost, in bursts of
    `burst` (at least 1) packets on average.
    """

    def __init__(self, share: float, burst: float) -> None:
        self._leave = 1 / burst
        self._enter = self._leave * share / (1 - share)
        self._losing = False

    def lost(self, draw: float) -> bool:
        """Whether the next packet is lost. `draw`: a random number, uniform in 0..1."""
        self._losing = bool(draw < (1 - self._leave if self._losing else self._enter))
        return self._losing
