"""PCM at the edges: what callers hand in becomes float32 [T, C]; sample rates are converted as a
stream.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import soxr
from numpy.typing import ArrayLike, NDArray

from ..config import check_sample_rate
from ..errors import AudioError
from ..units import Pcm

_TYPES = (np.dtype(np.int16), np.dtype(np.float32), np.dtype(np.float64))
_LOWEST, _HIGHEST = np.array(-1, np.float32), np.array(1, np.float32)  # numbers cost twice as much


def check_pcm(pcm: ArrayLike, channels: int) -> NDArray[Any]:
    """The samples as an array. Raises AudioError unless they are int16, float32 or float64,
    [T, channels], or [T] of one.
    """
    try:
        pcm = np.asarray(pcm)  # lists, too
    except ValueError as error:  # lists of different lengths in one
        raise AudioError(f"PCM must be [samples, {channels}]: {error}") from error
    if pcm.dtype not in _TYPES:
        raise AudioError(f"PCM must be int16, float32 or float64, got {pcm.dtype}")
    if pcm.shape[1:] != (channels,) and (pcm.ndim != 1 or channels > 1):
        raise AudioError(
            f"PCM must be [samples, {channels}]{' or [samples]' if channels == 1 else ''}, "
            f"got shape {list(pcm.shape)}"
        )
    return pcm


def as_float_pcm(pcm: ArrayLike, channels: int, before: int = 0) -> Pcm:
    """What `check_pcm` lets pass -> float32 [T, channels], full scale 1; floats beyond full scale
    are clipped.

    Raises AudioError, also for samples that are not finite, naming the first; `before`: how many
    samples came before these.
    """
    pcm = check_pcm(pcm, channels)
    scaled: Pcm = pcm.astype(np.float32, copy=False)
    if pcm.dtype == np.int16:
        scaled = scaled / np.float32(32_768)
    if scaled.ndim == 1:
        scaled = scaled[:, None]
    finite = np.isfinite(scaled)
    if 0 in finite.tobytes():  # NumPy's `all` takes three times as long for a packet
        first = int(np.argwhere(~finite)[0][0])
        raise AudioError(
            f"PCM holds {scaled[~finite][0]} at sample {before + first}: samples must be finite"
        )
    return clipped(scaled)


def clipped(pcm: NDArray[Any], out: Pcm | None = None) -> Pcm:
    """Floats within full scale; in new memory, or in `out`."""
    within: Pcm = np.minimum(np.maximum(pcm, _LOWEST, out=out), _HIGHEST, out=out)
    return within


class Resampler:
    """Streaming conversion of float32 [T, C]. The output is aligned with the input and comes a few
    milliseconds late; `flush` gives the rest.

    Same rate in and out: samples pass as they are. Else what the filters make go beyond full scale
    is clipped. Source: soxr (libsoxr, LGPL-2.1).
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
        return pcm if self._stream is None else self._converted(pcm)

    def flush(self) -> Pcm:
        """The samples still inside. The resampler begins anew afterwards."""
        if self._stream is None:
            return np.zeros((0, self._channels), np.float32)
        rest = self._converted(np.zeros((0, self._channels), np.float32), last=True)
        self.reset()
        return rest

    def _converted(self, pcm: Pcm, last: bool = False) -> Pcm:
        assert self._stream is not None
        converted: Pcm = self._stream.resample_chunk(pcm, last=last)
        return clipped(converted, converted)
