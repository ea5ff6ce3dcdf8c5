"""The waveform layer of the native bitstream against the Python one: the same bytes and integers,
in every instruction set that this processor runs.
"""

from __future__ import annotations

import dataclasses
import functools
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from conftest import SMALL, small_vae, voice
from streamcodec.coding.bitstream import LATENT_LIMIT, Bitstream
from streamcodec.coding.model import bitstream_of
from streamcodec.coding.native_bitstream import NativeBitstream
from streamcodec.config import MAX_PAYLOAD_BYTES
from streamcodec.engines.api import Latents, Waveform
from streamcodec.engines.torch import TorchEngine
from streamcodec.errors import ModelError, PayloadError
from streamcodec.native.library import library, variants
from streamcodec.tables import (
    GAIN_COUNT,
    GAIN_MIN,
    LARGEST_PRIOR_BIAS,
    LARGEST_PRIOR_WEIGHT,
    LARGEST_PRIOR_WIDTH,
    LOUDNESS_COUNT,
    STEP_BAND,
    EntropyTables,
)

pytestmark = pytest.mark.skipif(
    library() is None and not any(map(shutil.which, ("cc", "gcc", "clang"))),
    reason="no C compiler here, so the library could not be built",
)

LAYER_LEVELS = range(SMALL.base_levels, SMALL.quality_levels)
KINDS = ("small", "shipped shape", "odd shape", "largest sums")


@functools.cache
def tables_of(kind: str) -> EntropyTables:
    """Untrained, or of random weights: the untrained prior says nearly the same of all packets."""
    tables = small_vae().tables()
    rng = np.random.default_rng(KINDS.index(kind))
    layer, latents = tables.waveform, tables.level_scale.shape[1]
    if kind == "small":
        return tables
    frames, bins, width = {
        "shipped shape": (2, 80, LARGEST_PRIOR_WIDTH),
        "odd shape": (3, 13, 17),
        "largest sums": (2, 80, LARGEST_PRIOR_WIDTH),
    }[kind]
    bands = -(-bins // STEP_BAND)
    outputs = frames * bins + bands
    shapes = {"first": (width, latents + 2), "second": (width, width), "last": (outputs, width)}

    def weight(name: str) -> NDArray[np.int32]:
        if kind == "largest sums":
            return LARGEST_PRIOR_WEIGHT * np.broadcast_to(signs[name][:, None], shapes[name])
        values = np.rint(rng.normal(0, 256 / np.sqrt(shapes[name][1]), shapes[name]))
        return values.clip(-LARGEST_PRIOR_WEIGHT, LARGEST_PRIOR_WEIGHT).astype(np.int32)

    def bias(name: str) -> NDArray[np.int32]:
        if kind == "largest sums":
            return LARGEST_PRIOR_BIAS * signs[name]
        size = 2 << (8 if name == "first" else 14)
        return rng.integers(-size, size + 1, shapes[name][0]).astype(np.int32)

    # Of rows whose sums are the largest: hidden activations saturate.
    signs = {name: np.ones(shape[0], np.int32) for name, shape in shapes.items()}
    signs["last"] = rng.choice(np.array([-1, 1], np.int32), outputs)
    level_bins = layer.level_bins
    if kind == "odd shape":  # bands are cut at their ends, by levels too
        level_bins = np.where(level_bins, 1 + np.arange(len(level_bins)) % bins, 0)
    layer = dataclasses.replace(
        layer,
        shape=np.array([frames, bins], np.int32),
        **{f"{name}_weight": weight(name) for name in shapes},
        **{f"{name}_bias": bias(name) for name in shapes},
        level_bins=level_bins.astype(np.int32),
    )
    return dataclasses.replace(tables, waveform=layer)


@functools.cache
def bitstreams(kind: str) -> tuple[Bitstream, list[NativeBitstream]]:
    tables = tables_of(kind)
    return Bitstream(tables), [NativeBitstream(tables, variant) for variant in variants()]


def assert_alike(wanted: Latents, got: Latents) -> None:
    assert wanted.level == got.level
    assert np.array_equal(wanted.gain_index, got.gain_index)
    assert np.array_equal(wanted.y, got.y)
    assert (wanted.waveform is None) == (got.waveform is None)
    if wanted.waveform is not None:
        for field in dataclasses.fields(Waveform):
            mine, theirs = (getattr(one.waveform, field.name) for one in (wanted, got))
            assert np.array_equal(mine, theirs), field.name
            assert np.asarray(mine).dtype == np.asarray(theirs).dtype


@dataclasses.dataclass(frozen=True)
class Said:
    """What is encoded: latents without the layer, residual [P, C, F, K] and loudness [C]."""

    latents: Latents
    residual: NDArray[np.float32]
    loudness: NDArray[np.int32]


def random_said(
    kind: str, level: int, packets: int, channels: int, spread: float, seed: int
) -> Said:
    rng = np.random.default_rng(seed)
    tables, two = tables_of(kind), (packets, channels)
    y = np.rint(rng.laplace(0, rng.choice([0.3, 2, 200]), (*two, SMALL.latent_dim)))
    gain = rng.integers(GAIN_MIN, GAIN_MIN + GAIN_COUNT, two).astype(np.int32)
    gain[rng.random(two) < 0.2] = GAIN_MIN
    y[gain == GAIN_MIN] = 0
    residual = rng.laplace(0, 1, (*two, *tables.waveform.shape)) * spread
    ties = rng.random(residual.shape) < 0.1  # of steps that are powers of two
    residual[ties] = np.rint(residual[ties] * 16) / 32
    loudness = rng.integers(0, LOUDNESS_COUNT, channels).astype(np.int32)
    y = y.clip(-LATENT_LIMIT, LATENT_LIMIT).astype(np.int32)
    return Said(Latents(level, gain, y), residual.astype(np.float32), loudness)


def assert_all_code_alike(kind: str, said: Said, base: int) -> Latents:
    """-> what all of them say."""
    oracle, natives = bitstreams(kind)
    wanted, payload = oracle.encode_waveform(said.latents, said.residual, said.loudness, base)
    packets, channels = said.latents.gain_index.shape
    for native in natives:
        got, bytes_of_it = native.encode_waveform(said.latents, said.residual, said.loudness, base)
        assert bytes_of_it == payload
        assert_alike(wanted, got)
        assert native.serialize(wanted, base) == payload
        if len(payload) <= MAX_PAYLOAD_BYTES:
            assert_alike(wanted, native.parse(payload, packets, channels, base))
    return wanted


def test_of_two_classes_that_cost_the_same_all_take_the_same() -> None:
    said = random_said("small", 13, 1, 1, 0.0, 565957)
    assert_all_code_alike("small", said, 0)


@settings(max_examples=150)
@given(
    kind=st.sampled_from(KINDS),
    level=st.sampled_from(LAYER_LEVELS),
    base=st.integers(0, SMALL.quality_levels - 1),
    packets=st.integers(1, 3),
    channels=st.integers(1, 2),
    spread=st.sampled_from([0.0, 0.03, 0.3, 2.0, 40.0, 1e6]),
    seed=st.integers(0, 2**32 - 1),
)
def test_all_bitstreams_say_the_same_of_anything(
    kind: str, level: int, base: int, packets: int, channels: int, spread: float, seed: int
) -> None:
    said = random_said(kind, level, packets, channels, spread, seed)
    assert_all_code_alike(kind, said, base)


@pytest.mark.parametrize("level", LAYER_LEVELS)
def test_speech_is_coded_as_by_the_python_bitstream(level: int) -> None:
    engine, packets = TorchEngine(small_vae()), 3
    pcm = voice(packets * SMALL.packet / SMALL.sample_rate * 4)[None, -packets * SMALL.packet :]
    pcm = np.concatenate([pcm, pcm[:, ::-1]])
    means, _ = engine.encode(pcm, level, engine.initial_encoder_state(2))
    oracle, natives = bitstreams("small")
    latents = oracle.quantise(means)
    residual, _ = engine.residual(means, latents, engine.initial_decoder_state(2))
    for native in natives:
        assert_alike(latents, native.quantise(means))
    said = Said(latents, residual, np.array([18, 11], np.int32))
    layer = assert_all_code_alike("small", said, level).waveform
    assert layer is not None
    assert layer.q.any()


def said_of(
    bitstream: Bitstream | NativeBitstream, payload: bytes, shape: tuple[int, int], base: int
) -> Latents | str:
    try:
        return bitstream.parse(payload, *shape, base)
    except PayloadError as error:
        return str(error)


def assert_all_read_alike(kind: str, payload: bytes, shape: tuple[int, int], base: int) -> None:
    oracle, natives = bitstreams(kind)
    wanted = said_of(oracle, payload, shape, base)
    for native in natives:
        got = said_of(native, payload, shape, base)
        if isinstance(wanted, str) or isinstance(got, str):
            assert wanted == got
        else:
            assert_alike(wanted, got)


@settings(max_examples=150)
@given(
    kind=st.sampled_from(KINDS),
    payload=st.binary(max_size=200),
    shape=st.sampled_from([(1, 1), (3, 2)]),
    base=st.integers(0, SMALL.quality_levels - 1),
)
def test_all_refuse_and_read_the_same_bytes(
    kind: str, payload: bytes, shape: tuple[int, int], base: int
) -> None:
    assert_all_read_alike(kind, payload, shape, base)


@settings(max_examples=150)
@given(
    kind=st.sampled_from(KINDS),
    level=st.sampled_from(LAYER_LEVELS),
    spread=st.sampled_from([0.03, 0.3, 2.0, 1e4]),
    seed=st.integers(0, 2**32 - 1),
    kept=st.floats(0, 1),
    flips=st.lists(st.floats(0, 1, exclude_max=True), max_size=3),
    tail=st.binary(max_size=3),
)
def test_all_refuse_and_read_the_same_damaged_payloads(
    kind: str,
    level: int,
    spread: float,
    seed: int,
    kept: float,
    flips: list[float],
    tail: bytes,
) -> None:
    packets, channels = 1 + seed % 3, 1 + seed % 2
    said = random_said(kind, level, packets, channels, spread, seed)
    native = bitstreams(kind)[1][0]
    payload = native.encode_waveform(said.latents, said.residual, said.loudness, level)[1]
    damaged = bytearray(payload[: max(1, round(kept * len(payload)))])
    for flip in flips:
        bit = int(flip * 8 * len(damaged))
        damaged[bit // 8] ^= 1 << bit % 8
    foreign = bytes(damaged + tail)[:MAX_PAYLOAD_BYTES]
    assert_all_read_alike(kind, foreign, (packets, channels), level)


def test_what_is_no_number_is_coded_as_zero() -> None:
    said = random_said("small", LAYER_LEVELS[-1], 1, 1, 0.0, 1)
    latents = said.latents._replace(gain_index=np.zeros((1, 1), np.int32))
    residual = np.zeros_like(said.residual)
    residual[0, 0, 0, :3] = np.nan, np.inf, -np.inf
    native = bitstreams("small")[1][0]
    got, payload = native.encode_waveform(latents, residual, said.loudness, 0)
    assert got.waveform is not None
    assert got.waveform.q[0, 0, 0, :4].tolist() == [0, LATENT_LIMIT, -LATENT_LIMIT, 0]
    assert_alike(got, native.parse(payload, 1, 1, 0))


def test_what_the_layer_cannot_say_is_the_callers_mistake() -> None:
    oracle, natives = bitstreams("small")
    level = LAYER_LEVELS[-1]
    said = random_said("small", level, 1, 1, 0.3, 1)
    latents = said.latents._replace(gain_index=np.zeros((1, 1), np.int32))
    whole, _ = oracle.encode_waveform(latents, said.residual, said.loudness, level)
    layer = whole.waveform
    assert layer is not None
    assert layer.coded.all()
    large = whole._replace(waveform=dataclasses.replace(layer, q=layer.q + LATENT_LIMIT + 99))
    for bitstream in (oracle, *natives):
        with pytest.raises(ValueError, match="coefficients must lie within"):
            bitstream.serialize(large, level)
    for loudness in (-1, LOUDNESS_COUNT):
        louder = dataclasses.replace(layer, loudness=layer.loudness * 0 + loudness)
        with pytest.raises(ValueError, match="a loudness"):
            natives[0].serialize(whole._replace(waveform=louder), level)
        talkers = np.array([loudness], np.int32)
        with pytest.raises(ValueError, match="a loudness"):
            natives[0].encode_waveform(latents, said.residual, talkers, level)
    with pytest.raises(ValueError, match="lies outside"):  # a level with the layer, without it
        natives[0].serialize(latents, level)
    with pytest.raises(ValueError, match="lies outside"):  # and the other way
        natives[0].encode_waveform(latents._replace(level=0), said.residual, said.loudness, level)


def test_levels_with_the_layer_are_those_of_the_tables() -> None:
    oracle, natives = bitstreams("small")
    wanted = [oracle.has_waveform(level) for level in range(oracle.levels)]
    assert wanted == [natives[0].has_waveform(level) for level in range(oracle.levels)]
    assert isinstance(bitstream_of(tables_of("small")), NativeBitstream)


def test_a_prior_whose_sums_could_overflow_is_refused() -> None:
    layer = tables_of("shipped shape").waveform
    width = LARGEST_PRIOR_WIDTH + 1
    with pytest.raises(ValueError, match="first_weight must be .* at most 384 rows, got"):
        dataclasses.replace(
            layer,
            first_weight=np.zeros((width, layer.first_weight.shape[1]), np.int32),
            first_bias=np.zeros(width, np.int32),
            second_weight=np.zeros((width, width), np.int32),
            second_bias=np.zeros(width, np.int32),
            last_weight=np.zeros((len(layer.last_weight), width), np.int32),
        )
    with pytest.raises(ValueError, match="level_base must lie within"):
        dataclasses.replace(layer, level_base=layer.level_base + (1 << 15))


def test_an_instruction_set_that_is_not_here_is_refused() -> None:
    with pytest.raises((ValueError, ModelError)):
        NativeBitstream(tables_of("small"), "mmx")
