"""Sound above 8 kHz for tests, coded by the shipped model, and how loud it is."""

from __future__ import annotations

import numpy as np
import soundfile
import soxr

import streamcodec
from conftest import SPEECH
from streamcodec import CodecModel, StreamEncoder
from streamcodec.units import Pcm

RATE, PACKET, BITRATE_BPS = 48_000, 960, 9_000
BAND_HZ = (9_000, 18_000)


def hiss(seconds: float, seed: int = 0) -> Pcm:
    """White noise that swells four times a second, [T]."""
    count = round(seconds * RATE)
    swell = 0.05 * (1.2 + np.sin(2 * np.pi * 4 * np.arange(count) / RATE))
    return (swell * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def band_db(pcm: Pcm, low: float = BAND_HZ[0], high: float = BAND_HZ[1]) -> float:
    power = np.square(np.abs(np.fft.rfft(pcm))) / len(pcm)
    hz = np.fft.rfftfreq(len(pcm), 1 / RATE)
    return float(10 * np.log10(power[(hz >= low) & (hz < high)].mean() + 1e-20))


def coded(model: CodecModel, pcm: Pcm, **settings: object) -> tuple[list[bytes], StreamEncoder]:
    encoder = StreamEncoder(
        model, bitrate_bps=BITRATE_BPS, sample_rate=RATE, full_band=True, **settings
    )  # type: ignore[arg-type]
    return streamcodec.encode(pcm, encoder), encoder


def speech_48k() -> Pcm:
    """Bundled speech, whose band above 8 kHz is filled with hiss that follows it."""
    pcm, rate = soundfile.read(SPEECH, dtype="float32")
    wide = soxr.resample(pcm, rate, RATE)
    return (wide + 0.3 * np.abs(wide) * hiss(len(wide) / RATE)[: len(wide)]).astype(np.float32)
