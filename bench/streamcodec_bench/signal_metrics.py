"""Metrics that are computed from spectra and envelopes, without a model of hearing. Each takes
reference and output [T], aligned and equally long, at the rate that it names, and gives one number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamcodec.units import Pcm

from .formats import FULL_BAND_RATE, SAMPLE_RATE

FRAME_RATES_HZ = (50.0, 100.0)  # of our packets and synthesis frames: where a buzz would be
ENVELOPE_RATE = 1_000
WINDOW_S = 0.032  # of log spectral distances
HIGH_BAND_HZ = (8_000, 16_000)
HIGH_BAND_RANGE_DB = 80.0
# Of pumping: bands about as wide as the ear's own, where a pitch comb and a waveform layer work.
PUMPING_EDGES_HZ = (200, 300, 400, 510, 630, 770, 920, 1_080, 1_270, 1_480, 1_720, 2_000)
PUMPING_RANGE_DB, FEWEST_WINDOWS = 40.0, 20  # of a band; fewer within the range tell nothing


def log_spectral_distance(reference: Pcm, output: Pcm) -> float:
    """Root mean square difference of log spectra in dB, at SAMPLE_RATE, 32 ms windows, down to
    60 dB below the loudest.
    """
    a, b = (_power_spectrum(pcm, SAMPLE_RATE) for pcm in (reference, output))
    floor = max(1e-12, float(a.max(initial=0)) * 1e-6)
    return _distance(a, b, floor)


def high_band_distance(reference: Pcm, output: Pcm) -> float:
    """Root mean square difference of log spectra in dB within HIGH_BAND_HZ, at FULL_BAND_RATE, in
    windows of 32 ms, down to HIGH_BAND_RANGE_DB below the loudest bin of the whole reference. NaN
    for a reference that has nothing above that.
    """
    a, b = (_power_spectrum(pcm, FULL_BAND_RATE) for pcm in (reference, output))
    floor = float(a.max(initial=0)) * 10 ** (-HIGH_BAND_RANGE_DB / 10)
    resolution = 1 / WINDOW_S
    low, high = (round(hz / resolution) for hz in HIGH_BAND_HZ)
    a, b = a[:, low : high + 1], b[:, low : high + 1]
    if a.max(initial=0) <= floor:
        return float("nan")
    return _distance(a, b, floor)


def buzz(reference: Pcm, output: Pcm) -> float:
    """How many dB more the output's envelope is modulated at our frame rates than the reference's,
    above 3 kHz; the larger of the two rates. Modulation is relative to the envelope's mean.
    """
    a, b = _modulation(reference), _modulation(output)
    return float(max(10 * np.log10(b[rate] / a[rate]) for rate in FRAME_RATES_HZ))


def repetition(reference: Pcm, output: Pcm) -> float:
    """How much more the output correlates with itself one packet earlier than the reference does,
    above 2 kHz: 0 for sound that repeats itself no more than the original, near 1 where noise has
    become a periodic wave. The other metrics do not measure that.
    """
    return float(np.mean(_self_resemblance(output) - _self_resemblance(reference)))


def pumping(reference: Pcm, output: Pcm) -> float:
    """How much levels go up and down that do not in the reference: standard deviation over time, in
    dB, of the output's level beside the reference's, mean of bands from 200 Hz to 2 kHz, in windows
    of 32 ms no more than PUMPING_RANGE_DB below the reference's loudest. NaN where no band is heard
    for long enough.
    """
    a, b = (_band_powers(pcm) for pcm in (reference, output))
    heard = a > a.max(initial=0) * 10 ** (-PUMPING_RANGE_DB / 10)
    errors = 10 * np.log10((b + 1e-9) / (a + 1e-9))
    swings = [
        errors[within, band].std()
        for band, within in enumerate(heard.T)
        if within.sum() >= FEWEST_WINDOWS
    ]
    return float(np.mean(swings)) if swings else float("nan")


def _band_powers(pcm: Pcm) -> NDArray[np.float64]:
    """[windows, bands of PUMPING_EDGES_HZ]."""
    bins = np.rint(np.array(PUMPING_EDGES_HZ) * WINDOW_S).astype(int)
    powers: NDArray[np.float64] = np.add.reduceat(_power_spectrum(pcm, SAMPLE_RATE), bins, 1)
    return powers[:, :-1]


def _distance(a: NDArray[np.float64], b: NDArray[np.float64], floor: float) -> float:
    """Of power spectra [windows, bins], none of whose bins counts as fainter than `floor`."""
    difference = 10 * np.log10(np.maximum(a, floor) / np.maximum(b, floor))
    return float(np.mean(np.sqrt(np.mean(difference**2, axis=1))))


def _power_spectrum(pcm: Pcm, sample_rate: int) -> NDArray[np.float64]:
    """[windows, bins] of Hann windows of WINDOW_S, half overlapped."""
    window = round(WINDOW_S * sample_rate)
    padded = np.concatenate([pcm, np.zeros(max(0, window - len(pcm)), np.float32)])
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[:: window // 2] * np.hanning(
        window
    )
    power: NDArray[np.float64] = np.abs(np.fft.rfft(frames)) ** 2
    return power


def _modulation(pcm: Pcm) -> dict[float, float]:
    """Power of the envelope's modulation around each frame rate, relative to its squared mean;
    above 3 kHz.
    """
    from scipy.signal import butter, sosfilt, welch

    high = np.abs(sosfilt(butter(6, 3_000, "highpass", fs=SAMPLE_RATE, output="sos"), pcm))
    envelope = high[: len(high) // 16 * 16].reshape(-1, SAMPLE_RATE // ENVELOPE_RATE).mean(1)
    frequencies, power = welch(
        envelope, ENVELOPE_RATE, nperseg=min(1000, len(envelope)), detrend="constant"
    )
    total = envelope.mean() ** 2 + 1e-20
    return {
        rate: float(power[np.abs(frequencies - rate) <= 1.5].mean() / total + 1e-9)
        for rate in FRAME_RATES_HZ
    }


def _self_resemblance(pcm: Pcm) -> NDArray[np.float64]:
    """Normalised correlation of windows of 60 ms with what was one packet before them,
    above 2 kHz.
    """
    from scipy.signal import butter, sosfilt

    high = sosfilt(butter(6, 2_000, "highpass", fs=SAMPLE_RATE, output="sos"), pcm)
    lag, window = round(SAMPLE_RATE / FRAME_RATES_HZ[0]), 3 * SAMPLE_RATE // 50
    frames = np.lib.stride_tricks.sliding_window_view(high, window)
    now, before = frames[lag :: window // 2], frames[: len(frames) - lag : window // 2]
    energy = np.square(now).sum(1) * np.square(before).sum(1)
    alike: NDArray[np.float64] = (now * before).sum(1) / np.sqrt(energy + 1e-12)
    return alike
