"""Playing faster and slower: the speed is met, time scaling keeps the pitch, nothing clicks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import voice
from streamcodec.live.speed import FINE_SPEED
from streamcodec.live.timescale import TimeScaler
from streamcodec_client.audio.stretch import Stretcher

RATE, PACKET = 16_000, 320


def scaled(pcm: NDArray[np.float32], speed: float) -> NDArray[np.float32]:
    scaler = TimeScaler(RATE)
    packets = [
        scaler.scale(pcm[i : i + PACKET, None], speed)
        for i in range(0, len(pcm) - PACKET + 1, PACKET)
    ]
    return np.concatenate(packets)[:, 0]


def strongest_hz(pcm: NDArray[np.float32]) -> float:
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm)), 1 << 18))
    return float(spectrum.argmax()) * RATE / (1 << 18)


def tone(hz: float, seconds: float = 3.0) -> NDArray[np.float32]:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


@pytest.mark.parametrize("speed", [0.85, 0.95, 1.12, 1.3])
def test_the_speed_is_met_on_speech(speed: float) -> None:
    pcm = voice(6.0)
    assert len(scaled(pcm, speed)) == pytest.approx(len(pcm) / speed, rel=0.02)


@pytest.mark.parametrize("speed", [0.85, 1.12, 1.3])
@pytest.mark.parametrize("hz", [130.0, 217.0, 440.0])
def test_pitch_stays_and_nothing_clicks(speed: float, hz: float) -> None:
    pcm = tone(hz)
    out = scaled(pcm, speed)
    assert strongest_hz(out) == pytest.approx(hz, rel=0.01)
    assert np.abs(np.diff(out)).max() < 1.3 * np.abs(np.diff(pcm)).max()
    assert np.abs(out).max() < 1.05 * np.abs(pcm).max()


def test_speed_one_passes_everything() -> None:
    pcm = voice(1.0)
    assert np.array_equal(scaled(pcm, 1.0), pcm[: len(pcm) // PACKET * PACKET])


def test_silence_and_noise_are_scaled_too() -> None:
    noise = (0.1 * np.random.default_rng(0).standard_normal(3 * RATE)).astype(np.float32)
    for pcm in (np.zeros(3 * RATE, np.float32), noise):
        assert len(scaled(pcm, 1.2)) == pytest.approx(len(pcm) / 1.2, rel=0.03)


def test_all_channels_are_cut_at_the_same_place() -> None:
    scaler, pcm = TimeScaler(RATE), voice(1.0)
    stereo = np.stack([pcm, -0.5 * pcm], 1)
    out = np.concatenate(
        [
            scaler.scale(stereo[i : i + PACKET], 1.2)
            for i in range(0, len(stereo) - PACKET + 1, PACKET)
        ]
    )
    assert np.allclose(out[:, 1], -0.5 * out[:, 0], atol=1e-6)


def test_channels_of_opposite_signs_are_scaled_as_one_of_them_is() -> None:
    pcm = voice(1.0)
    one, both = TimeScaler(RATE), TimeScaler(RATE)
    for i in range(0, len(pcm) - PACKET + 1, PACKET):
        packet = pcm[i : i + PACKET, None]
        alone = one.scale(packet, 1.2)
        assert np.allclose(both.scale(packet * np.float32([1, -1]), 1.2)[:, :1], alone, atol=1e-6)


def test_samples_still_to_be_cut_are_forgotten_when_the_sound_is_to_be_slower() -> None:
    scaler, packet = TimeScaler(RATE), tone(200.0, 0.02)[:, None]
    scaler.scale(packet, 1.1)
    assert len(scaler.scale(packet, 0.95)) >= len(packet)


def stretched(pcm: NDArray[np.float32], speed: float) -> NDArray[np.float32]:
    stretcher = Stretcher(RATE, 1)
    starts = range(0, len(pcm) - PACKET + 1, PACKET)
    return np.concatenate([stretcher.play(pcm[i : i + PACKET, None], speed) for i in starts])[:, 0]


@pytest.mark.parametrize(
    ("speed", "relative"),
    [(0.998, 2e-4), (0.9995, 2e-4), (1.0, 2e-4), (1.002, 2e-4), (1.12, 0.02), (0.85, 0.02)],
)
def test_a_stretcher_meets_fine_and_coarse_speeds(speed: float, relative: float) -> None:
    pcm = voice(6.0)
    assert len(stretched(pcm, speed)) == pytest.approx(len(pcm) / speed, rel=relative, abs=40)


@pytest.mark.parametrize("speed", [1 - FINE_SPEED, 1 + FINE_SPEED])
def test_a_stretcher_resamples_at_the_limits_of_fine_speeds(speed: float) -> None:
    """Resampling moves the pitch, time scaling does not."""
    assert strongest_hz(stretched(tone(440.0), speed)) == pytest.approx(440 * speed, rel=2e-4)


@pytest.mark.parametrize("speed", [1.003, 0.997])
def test_a_stretcher_scales_time_beyond_fine_speeds(speed: float) -> None:
    assert strongest_hz(stretched(tone(440.0), speed)) == pytest.approx(440, rel=2e-4)


def test_a_stretcher_does_not_click_when_its_speed_changes() -> None:
    pcm, stretcher = tone(440.0), Stretcher(RATE, 1)
    speeds = np.linspace(0.998, 1.002, len(pcm) // PACKET)
    out = np.concatenate(
        [
            stretcher.play(pcm[i * PACKET : (i + 1) * PACKET, None], float(s))
            for i, s in enumerate(speeds)
        ]
    )[:, 0]
    assert np.abs(np.diff(out)).max() < 1.1 * np.abs(np.diff(pcm)).max()
