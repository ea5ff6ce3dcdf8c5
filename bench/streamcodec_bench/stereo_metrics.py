"""How far a codec moves or blurs the stereo image: level differences and coherence of the two
channels, band by band, against the reference's. These are the cues that parametric stereo keeps
(Breebaart et al. 2005: inter-channel level, phase and coherence).

Both take reference and output [T, 2], aligned and equally long, at FULL_BAND_RATE.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcodec.units import Pcm

from .formats import FULL_BAND_RATE

WINDOW = 1_536  # samples: 32 ms, Hann, half overlapped
AVERAGED = 6  # windows that one figure of a band is taken over: 112 ms
LOWEST_HZ = 50.0  # below, a band would be narrower than the windows resolve
SILENCE = 1e-30  # power, so that silence can be divided by
HEARD_DB = 40.0  # bands so far below the loudest of the reference do not count
Figures = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class _Image:
    """power: of both channels; level: left against right in dB, at most HEARD_DB either way;
    coherence: complex, 1 for equal channels, its angle their phase difference. [times, bands].
    """

    power: Figures
    level: Figures
    coherence: NDArray[np.complex128]


def level_error(reference: Pcm, output: Pcm) -> float:
    """Root mean square error in dB of the level difference between the channels, over the bands of
    one ERB and the times at which the reference is heard. NaN where it never is.
    """
    original, coded = _image(reference), _image(output)
    return _root_mean_square(coded.level - original.level, _heard(original))


def coherence_error(reference: Pcm, output: Pcm) -> float:
    """Root mean square error of the complex coherence between the channels, over bands and times as
    of `level_error`: 0, where the image is as wide and its parts are where they were, to 2, where
    one channel is inverted. A wrong phase counts as much as the channels are coherent.
    """
    original, coded = _image(reference), _image(output)
    return _root_mean_square(np.abs(coded.coherence - original.coherence), _heard(original))


def _image(pcm: Pcm) -> _Image:
    spectra = _spectra(pcm[:, 0]), _spectra(pcm[:, 1])
    left, right = (_in_bands(np.abs(s) ** 2) for s in spectra)
    cross = _in_bands(spectra[0] * spectra[1].conj())
    power = left + right
    # a silent channel has no level: it counts as that far below both
    floor = power * 10 ** (-HEARD_DB / 10) + SILENCE
    level = 10 * np.log10(np.maximum(left, floor) / np.maximum(right, floor))
    norm = np.sqrt(np.maximum(left, floor) * np.maximum(right, floor))
    return _Image(power, level, cross / norm)


def _heard(reference: _Image) -> NDArray[np.bool_]:
    least = float(reference.power.max(initial=0)) * 10 ** (-HEARD_DB / 10)
    heard: NDArray[np.bool_] = (reference.power > 0) & (reference.power >= least)
    return heard


def _root_mean_square(error: Figures, counted: NDArray[np.bool_]) -> float:
    return float(np.sqrt(np.mean(error[counted] ** 2))) if counted.any() else float("nan")


def _spectra(pcm: Pcm) -> NDArray[np.complex128]:
    """[T] -> [windows, bins]; padded to one figure at least."""
    least = WINDOW + (AVERAGED - 1) * (WINDOW // 2)
    padded = np.concatenate([pcm, np.zeros(max(0, least - len(pcm)), np.float32)])
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[:: WINDOW // 2]
    spectra: NDArray[np.complex128] = np.fft.rfft(frames * np.hanning(WINDOW))
    return spectra


def _in_bands(figures: NDArray[Any]) -> NDArray[Any]:
    """[windows, bins] -> [times, bands]: sums over a band and over AVERAGED windows."""
    first, starts = _bands()
    sums = np.add.reduceat(figures[:, first:], starts, axis=1)
    running = np.lib.stride_tricks.sliding_window_view(sums, AVERAGED, axis=0)
    over_time: NDArray[Any] = running.sum(-1)
    return over_time


@functools.cache
def _bands() -> tuple[int, NDArray[np.intp]]:
    """The first bin that counts, and where bands begin, in bins after it. A band is one ERB wide
    (Glasberg & Moore 1990); where bins are further apart it is one bin.
    """
    frequencies = np.fft.rfftfreq(WINDOW, 1 / FULL_BAND_RATE)
    first = int(np.searchsorted(frequencies, LOWEST_HZ))
    number = np.floor(21.4 * np.log10(1 + 0.00437 * frequencies[first:])).astype(np.intp)
    return first, np.flatnonzero(np.diff(number, prepend=-1))
