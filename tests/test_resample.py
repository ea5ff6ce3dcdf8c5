"""Resampling of live audio, block by block."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcodec.coding.pcm import Resampler
from streamcodec.errors import ConfigError
from streamcodec_client.audio.resample import LiveResampler

RATES = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("upwards", [True, False])
def test_a_tone_survives_resampling(rate: int, upwards: bool) -> None:
    source, target = (rate, 16_000) if upwards else (16_000, rate)
    resampler = LiveResampler(source, target, 1)
    seconds = np.arange(source) / source
    wave = np.sin(2 * np.pi * 1_000 * seconds).astype(np.float32)[:, None]
    out = np.concatenate([resampler.convert(block) for block in np.array_split(wave, 100)])
    assert len(out) == target
    expected = np.sin(2 * np.pi * 1_000 * (np.arange(target) / target - resampler.delay_s))
    settled = slice(target // 50, None)
    assert np.abs(out[settled, 0] - expected[settled]).max() < 1e-3


@pytest.mark.parametrize("rate", RATES)
def test_resampling_adds_no_more_than_its_delay(rate: int) -> None:
    """Each block of 10 ms gives 10 ms at once: nothing is held back."""
    resampler = LiveResampler(rate, 16_000, 1)
    size = rate // 100
    assert resampler.delay_s <= 0.004
    for n in range(1, 30):
        samples = len(resampler.convert(np.zeros((size, 1), np.float32)))
        assert abs(samples - size * 16_000 / rate) < 1, n


@given(
    st.sampled_from([(44_100, 16_000), (48_000, 16_000), (16_000, 22_050)]),
    st.lists(st.integers(1, 2_000), min_size=1, max_size=8),
)
def test_resampling_does_not_depend_on_where_blocks_are_cut(
    rates: tuple[int, int], sizes: list[int]
) -> None:
    pcm = np.random.default_rng(0).standard_normal((sum(sizes), 2)).astype(np.float32)
    whole = LiveResampler(*rates, 2).convert(pcm)
    cut = LiveResampler(*rates, 2)
    parts = [cut.convert(part) for part in np.split(pcm, np.cumsum(sizes)[:-1])]
    assert np.allclose(np.concatenate(parts), whole, atol=1e-6)


def test_sound_above_the_new_band_is_removed() -> None:
    tone = np.sin(2 * np.pi * 9_000 * np.arange(48_000) / 48_000).astype(np.float32)[:, None]
    assert np.abs(LiveResampler(48_000, 16_000, 1).convert(tone)[500:]).max() < 1e-3


def test_a_rate_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="sample rate must be 4000 to 384000 Hz, got 100"):
        LiveResampler(100, 16_000, 1)


@pytest.mark.parametrize("kind", [Resampler, LiveResampler])
def test_nothing_goes_beyond_full_scale(kind: type[Resampler] | type[LiveResampler]) -> None:
    """As filters make of sound that reaches it: int16 would wrap."""
    rng = np.random.default_rng(0)
    loud = np.sign(rng.standard_normal((16_000, 2))).astype(np.float32)
    converted = kind(16_000, 44_100, 2).convert(loud)
    assert np.abs(converted).max() == 1
