import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conftest import SMALL, small_vae
from streamcodec.coding.bitstream import Bitstream
from streamcodec.coding.symbols import LATENT_LIMIT
from streamcodec.config import MAX_PAYLOAD_BYTES
from streamcodec.engines.api import Latents, Means
from streamcodec.errors import PayloadError
from streamcodec.tables import (
    BIT_WORTH,
    GAIN_COUNT,
    GAIN_MIN,
    integer_frequencies,
    level_frequencies,
)

BITSTREAM = Bitstream(small_vae().tables())
D = SMALL.latent_dim
BASE = 5


def latents(level: int, packets: int, channels: int, scale: float, seed: int = 0) -> Latents:
    rng = np.random.default_rng(seed)
    y = np.round(rng.laplace(0, scale, (packets, channels, D))).astype(np.int32)
    gain = rng.integers(GAIN_MIN + 1, GAIN_MIN + GAIN_COUNT, (packets, channels)).astype(np.int32)
    return Latents(level, gain, y)


def means_of(level: int, gain: np.ndarray, mean: np.ndarray) -> Means:
    """Of a sound whose coefficients nobody asks for."""
    return Means(level, gain, mean, np.zeros((*gain.shape, 2, SMALL.waveform_bins), np.float32))


LEVELS = st.integers(0, SMALL.base_levels - 1)


@given(
    LEVELS,
    LEVELS,
    st.integers(1, 3),
    st.integers(1, 2),
    st.sampled_from([0.0, 0.3, 3.0, 200.0]),
    st.integers(0, 99),
)
def test_round_trip(
    level: int, base: int, packets: int, channels: int, scale: float, seed: int
) -> None:
    before = latents(level, packets, channels, scale, seed)
    after = BITSTREAM.parse(BITSTREAM.serialize(before, base), packets, channels, base)
    assert after.level == level
    assert np.array_equal(after.gain_index, before.gain_index)
    assert np.array_equal(after.y, before.y)


def test_the_largest_latents_round_trip() -> None:
    before = Latents(3, np.full((1, 1), -10, np.int32), np.full((1, 1, D), LATENT_LIMIT, np.int32))
    before.y[0, 0, ::2] *= -1
    assert np.array_equal(
        BITSTREAM.parse(BITSTREAM.serialize(before, BASE), 1, 1, BASE).y, before.y
    )


def test_a_silent_packet_carries_no_latents() -> None:
    before = Latents(3, np.full((1, 1), GAIN_MIN, np.int32), np.ones((1, 1, D), np.int32))
    payload = BITSTREAM.serialize(before, BASE)
    assert len(payload) <= 3
    assert not BITSTREAM.parse(payload, 1, 1, BASE).y.any()


@settings(max_examples=400)
@given(st.binary(max_size=200), st.integers(1, 3), st.integers(1, 2))
@example(b"\xffZ\x0b", 1, 1)  # an escape of the longest kind
def test_any_bytes_give_latents_in_bounds_or_one_error(
    payload: bytes, packets: int, channels: int
) -> None:
    try:
        parsed = BITSTREAM.parse(payload, packets, channels, BASE)
    except PayloadError:
        return
    assert parsed.y.shape == (packets, channels, D)
    assert np.abs(parsed.y).max() <= LATENT_LIMIT
    assert 0 <= parsed.level < SMALL.quality_levels


@given(st.data())
def test_a_flipped_bit_never_does_worse_than_an_error(data: st.DataObject) -> None:
    payload = bytearray(BITSTREAM.serialize(latents(8, 1, 1, 1.0), BASE))
    bit = data.draw(st.integers(0, len(payload) * 8 - 1))
    payload[bit // 8] ^= 1 << bit % 8
    try:
        assert BITSTREAM.parse(bytes(payload), 1, 1, BASE).y.shape == (1, 1, D)
    except PayloadError as error:
        damage = (
            "damaged payload: no symbol at byte ",
            f"payload of {len(payload)} bytes goes on after its last symbol at byte ",
            "escaped latent of ",
        )
        assert str(error).startswith(damage)


def test_an_oversized_payload_is_refused_by_its_length() -> None:
    with pytest.raises(PayloadError, match=f"at most {MAX_PAYLOAD_BYTES}"):
        BITSTREAM.parse(bytes(MAX_PAYLOAD_BYTES + 1), 1, 1, BASE)


def test_coded_bits_are_within_2_percent_of_the_priors_estimate() -> None:
    """The KL of the VAE is the rate: what training minimises is what the coder spends."""
    vae = small_vae()
    # 60 packets a payload: byte rounding and the level's own bits are then far below 2 %.
    packets, level = 60, 7
    rng = np.random.default_rng(1)
    scale = np.exp(vae.prior.log_scale.base.detach().numpy()[1]) * 1.2
    y = np.round(rng.logistic(0, scale, (packets, 1, D))).astype(np.int32)
    gain = rng.integers(-30, -10, (packets, 1)).astype(np.int32)
    quality = torch.full((1, packets), SMALL.level_qualities[level])
    latents = torch.from_numpy(y[None, :, 0].astype(np.float32))
    chosen = vae.prior.choose(latents, quality)
    estimate = vae.prior.bits(latents, torch.from_numpy(gain.T), quality, chosen).sum().item()
    spent = len(BITSTREAM.serialize(Latents(level, gain, y), level)) * 8
    assert spent == pytest.approx(estimate, rel=0.02)


def test_rounding_takes_the_integer_whose_error_and_bits_cost_least() -> None:
    rng = np.random.default_rng(2)
    mean = rng.normal(0, 2, (4, 2, D)).astype(np.float32)
    mean[0, 0, :3] = (1e9, -1e9, 40.4)
    gain = np.full((4, 2), -20, np.int32)
    plain = Latents(7, gain, np.rint(mean).clip(-LATENT_LIMIT, LATENT_LIMIT).astype(np.int32))
    chosen = BITSTREAM.quantise(means_of(7, gain, mean))
    assert chosen.y[0, 0, 2] == 40
    assert np.abs(chosen.y).max() == LATENT_LIMIT

    def cost(latents: Latents) -> float:
        bounded = mean.clip(-LATENT_LIMIT, LATENT_LIMIT)
        return float(np.square(latents.y - bounded).sum()) + BIT_WORTH * 8 * len(
            BITSTREAM.serialize(latents, BASE)
        )

    assert cost(chosen) < cost(plain)
    assert len(BITSTREAM.serialize(chosen, BASE)) < len(BITSTREAM.serialize(plain, BASE))


def test_every_symbol_stays_possible_however_small_its_mass() -> None:
    frequencies = integer_frequencies(np.array([[1.0, 1e-30, 0.0]]))
    assert frequencies.min() == 1
    assert frequencies.sum() == 1 << 16


def test_tables_that_do_not_add_up_are_refused() -> None:
    good = small_vae().tables()
    broken = good.frequencies.copy()
    broken[3, 3] += 1
    with pytest.raises(ValueError, match="frequencies"):
        dataclasses.replace(good, frequencies=broken)


def test_levels_near_the_base_level_are_cheap_and_all_are_possible() -> None:
    silent = np.full((1, 1), GAIN_MIN, np.int32)
    costs = {}
    levels = SMALL.quality_levels
    for level in range(levels):
        layer = BITSTREAM.waveform.empty(level, 1, 1)
        made = Latents(level, silent, np.zeros((1, 1, D), np.int32), layer)
        assert BITSTREAM.parse(BITSTREAM.serialize(made, BASE), 1, 1, BASE).level == level
        costs[level] = 16 - np.log2(level_frequencies(levels)[BASE, level])
    assert costs[BASE] == pytest.approx(costs[BASE + 1], abs=0.01)
    assert costs[BASE] < 2
    assert sorted(range(BASE + 1, levels), key=costs.__getitem__) == [*range(BASE + 1, levels)]
    with pytest.raises(ValueError, match=f"level must be 0 to {levels - 1}, got {levels}"):
        BITSTREAM.serialize(Latents(3, silent, np.zeros((1, 1, D), np.int32)), levels)


def test_a_level_with_the_waveform_layer_needs_it_and_another_refuses_it() -> None:
    gain, y = np.full((1, 1), -9, np.int32), np.zeros((1, 1, D), np.int32)
    with pytest.raises(ValueError, match="level 12 has the waveform layer"):
        BITSTREAM.serialize(Latents(12, gain, y), 12)
    with pytest.raises(ValueError, match="level 3 has not the waveform layer"):
        BITSTREAM.serialize(Latents(3, gain, y, BITSTREAM.waveform.empty(12, 1, 1)), 3)


def test_encode_fills_bytes_no_worse_than_one_rounding() -> None:
    rng = np.random.default_rng(3)

    def loss(mean: np.ndarray, latents: Latents, payload: bytes) -> float:
        return float(np.square(latents.y - mean).sum()) + BIT_WORTH * 8 * len(payload)

    gains = []
    for _ in range(20):
        mean = rng.normal(0, 1, (1, 1, D)).astype(np.float32)
        means = means_of(7, np.full((1, 1), -20, np.int32), mean)
        latents, payload = BITSTREAM.encode(means, 7)
        assert np.array_equal(BITSTREAM.parse(payload, 1, 1, 7).y, latents.y)
        plain = BITSTREAM.quantise(means)
        gains.append(
            loss(means.mean, plain, BITSTREAM.serialize(plain, 7))
            - loss(means.mean, latents, payload)
        )
    assert min(gains) >= 0
    assert max(gains) > 0
