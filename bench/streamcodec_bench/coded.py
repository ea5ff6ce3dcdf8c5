"""What every codec of the comparison gives, and how the comparison sees a codec."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamcodec.units import Pcm


class Coded(NamedTuple):
    """pcm as decoded, of the shape of what was coded but for its length, not aligned; payload_bytes
    without any container; seconds of CPU time spent.
    """

    pcm: Pcm
    payload_bytes: int
    encode_s: float
    decode_s: float


@dataclasses.dataclass(frozen=True)
class PeerCodec:
    """`code` takes PCM [T], or [T, 2] where the codec can, and a rate in bit/s, for each channel at
    least `least_bps` and at most `most_bps`. With `fixed_bps` the codec has only these rates; an
    empty tuple: it has no rate. needs: a module that must be installed; empty: none.
    """

    name: str
    code: Callable[[Pcm, float], Coded]
    least_bps: float = 0.0
    most_bps: float = math.inf
    fixed_bps: tuple[float, ...] | None = None
    needs: str = ""

    def rates(self, asked: Sequence[float], channels: int = 1) -> list[float]:
        """The rates to measure it at, where the rates `asked` are wanted; 0 where it has none."""
        if self.fixed_bps is not None:
            return list(self.fixed_bps) or [0.0]
        low, high = self.least_bps * channels, self.most_bps * channels
        return [rate for rate in asked if low <= rate <= high]


def int16(pcm: Pcm) -> NDArray[np.int16]:
    """Of full scale 1, clipped."""
    return (pcm * 32767).clip(-32768, 32767).astype(np.int16)
