"""PCM at the edges: what callers hand in becomes float32 [T, C]; sample rates are converted as a
stream.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from ..config import check_sample_rate
from ..errors import AudioError
from ..units import Pcm

_FLOAT32 = np.dtype(np.float32)
_LOWEST, _HIGHEST = np.array(-1, np.float32), np.array(1, np.float32)  # numbers cost twice as much


def as_float_pcm(pcm: NDArray[Any], channels: int) -> Pcm:
    """int16 or float [T] or [T, channels] -> float32 [T, channels], full scale 1; floats beyond
    full scale are clipped.

    Raises AudioError for other types and shapes and for samples that are not finite, naming the
    first.
    """
    if pcm.dtype == _FLOAT32:
        scaled = pcm
    elif pcm.dtype == np.float64:
        scaled = pcm.astype(np.float32)
    elif pcm.dtype == np.int16:
        scaled = pcm.astype(np.float32) / 32_768
    else:
        raise AudioError(f"PCM must be int16 or float32, got {pcm.dtype}")
    if scaled.ndim == 1 and channels == 1:
        scaled = scaled[:, None]
    if scaled.ndim != 2 or scaled.shape[1] != channels:
        raise AudioError(
            f"PCM must be [samples, {channels}]{' or [samples]' if channels == 1 else ''}, "
            f"got shape {list(pcm.shape)}"
        )
    finite = np.isfinite(scaled)
    if 0 in finite.tobytes():  # NumPy's `all` takes three times as long for a packet
        first = int(np.argwhere(~finite)[0][0])
        raise AudioError(
            f"PCM holds {scaled[~finite][0]} at sample {first} of {len(scaled)}: "
            "samples must be finite"
        )
    return clipped(scaled)


def clipped(pcm: NDArray[Any], out: Pcm | None = None) -> Pcm:
    """Floats within full scale; in new memory, or in `out`."""
    within: Pcm = np.minimum(np.maximum(pcm, _LOWEST, out=out), _HIGHEST, out=out)
    return within


class Resampler:
    """Streaming conversion of float32 [T, C]. The output is aligned with the input and comes a few
    milliseconds late; `flush` gives the rest.

    Same rate in and out: samples pass as they are. Source: soxr (libsoxr, LGPL-2.1).
    """

    def __init__(self, source_rate: int, target_rate: int, channels: int) -> None:
        """Rates in Hz. Raises ConfigError for one outside 4 to 384 kHz."""
        for rate in (source_rate, target_rate):
            check_sample_rate(rate)
        self._rates, self._channels = (source_rate, target_rate), channels
        self.reset()

    def reset(self) -> None:
        source, target = self._rates
        self._stream = (
            None
            if source == target
            else soxr.ResampleStream(source, target, self._channels, dtype="float32", quality="HQ")
        )

    def convert(self, pcm: Pcm) -> Pcm:
        return pcm if self._stream is None else self._stream.resample_chunk(pcm)

    def flush(self) -> Pcm:
        """The samples still inside. The resampler begins anew afterwards."""
        if self._stream is None:
            return np.zeros((0, self._channels), np.float32)
        rest: Pcm = self._stream.resample_chunk(
            np.zeros((0, self._channels), np.float32), last=True
        )
        self.reset()
        return rest
