"""Joint stereo: two channels that are alike cost little more than one, nothing is lost by it, and C
says to the byte what Python says.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import streamcodec
from conftest import SPEECH
from streamcodec import CodecModel, StreamDecoder, StreamEncoder, load_model
from streamcodec.coding.bitstream import Bitstream
from streamcodec.coding.layered import LayeredCoder
from streamcodec.coding.native_bitstream import NativeBitstream
from streamcodec.coding.symbols import LATENT_LIMIT
from streamcodec.config import CodecConfig
from streamcodec.engines.api import EncodeRequest, Latents
from streamcodec.errors import ConfigError, ContainerError, ModelError, PayloadError
from streamcodec.native.library import library, variants
from streamcodec.tables import GAIN_COUNT, GAIN_MIN, EntropyTables, FollowTables, JointTables
from streamcodec.units import Pcm
from streamcodec_models import catalogue

RATE, PACKET, LATENTS = 16_000, 320, 192
LEVEL, LAYER_LEVEL = 9, 16  # without the waveform layer, and with it
BUILT = pytest.mark.skipif(library() is None, reason="the library is not built here")


@pytest.fixture(scope="module")
def shipped() -> CodecModel:
    return load_model(device="cpu")


@pytest.fixture(scope="module")
def tables() -> tuple[EntropyTables, JointTables]:
    folder = catalogue.folder_of(None)
    found = catalogue.joint_stereo(folder)
    assert found is not None
    return catalogue.describe(folder).tables, found[0]


def voices(kind: str) -> Pcm:
    """Two seconds in two channels, [T, 2]."""
    both, _ = soundfile.read(SPEECH, dtype="float32", frames=4 * RATE)
    voice, other = both[: 2 * RATE], both[2 * RATE :]
    noise = 0.05 * np.random.default_rng(0).standard_normal((2 * RATE, 2)).astype(np.float32)
    return {
        "in the middle": np.stack([voice, voice], 1),
        "at a side": np.stack([voice, 0.3 * voice], 1),
        "two voices": np.stack([voice, other], 1),
        "each its noise": noise,
        "one silent": np.stack([voice, np.zeros_like(voice)], 1),
        "the other silent": np.stack([np.zeros_like(voice), voice], 1),
    }[kind].astype(np.float32)


KINDS = (
    *("in the middle", "at a side", "two voices"),
    *("each its noise", "one silent", "the other silent"),
)


def size_of(model: CodecModel, pcm: Pcm, level: int, *, joint: bool = True) -> int:
    channels = 1 if pcm.ndim == 1 else 2
    encoder = StreamEncoder(model, level=level, channels=channels, joint_stereo=joint)
    assert encoder.config.joint is (joint and channels == 2)
    return sum(map(len, encoder.encode(pcm)))


@pytest.mark.parametrize("level", [LEVEL, LAYER_LEVEL])
def test_alike_channels_cost_a_tenth_more_than_one(shipped: CodecModel, level: int) -> None:
    pcm = voices("in the middle")
    assert size_of(shipped, pcm, level) < 1.1 * size_of(shipped, pcm[:, 0], level)
    side = size_of(shipped, voices("at a side"), level)
    assert side < 0.75 * size_of(shipped, voices("at a side"), level, joint=False)


@pytest.mark.parametrize("level", [LEVEL, LAYER_LEVEL])
@pytest.mark.parametrize("kind", ["two voices", "each its noise", "one silent"])
def test_what_differs_costs_hardly_more_than_on_its_own(
    shipped: CodecModel, kind: str, level: int
) -> None:
    apart = size_of(shipped, voices(kind), level, joint=False)
    assert size_of(shipped, voices(kind), level) < 1.03 * apart


@pytest.mark.parametrize("packet_ms", [20, 60])
@pytest.mark.parametrize("kind", KINDS)
def test_both_channels_sound_as_they_do_apart(
    shipped: CodecModel, kind: str, packet_ms: int
) -> None:
    pcm, heard = voices(kind), {}
    for joint in (False, True):
        encoder = StreamEncoder(
            shipped, level=LAYER_LEVEL, channels=2, packet_ms=packet_ms, joint_stereo=joint
        )
        payloads = streamcodec.encode(pcm, encoder)
        decoder = StreamDecoder(shipped, encoder.config)
        heard[joint] = streamcodec.decode(payloads, decoder, len(pcm))
    for channel in range(2):
        wanted = pcm[:, channel]
        errors = [float(np.square(heard[j][:, channel] - wanted).sum()) for j in (False, True)]
        # it rounds some integers as the first channel's are: what that adds is priced
        assert errors[1] <= 1.1 * errors[0] + 1e-3
        assert np.std(heard[True][:, channel]) == pytest.approx(np.std(wanted), rel=0.3, abs=1e-3)


@BUILT
@pytest.mark.parametrize("level", [LEVEL, LAYER_LEVEL])
@pytest.mark.parametrize("kind", KINDS)
def test_c_says_what_python_says(
    shipped: CodecModel, tables: tuple[EntropyTables, JointTables], kind: str, level: int
) -> None:
    entropy, joint = tables
    config = shipped.stream_config(2, base_level=level, joint=True)
    bitstreams = [Bitstream(entropy, joint), NativeBitstream(entropy, joint=joint)]
    coders = [LayeredCoder(shipped.engine, b, config) for b in bitstreams]
    states = [coder.initial_state() for coder in coders]
    for packet in packets(voices(kind)[:RATE]):
        said = []
        for n, coder in enumerate(coders):
            payload, states[n] = coder.encode(EncodeRequest(packet, level, states[n]))
            said.append(payload)
        assert said[0] == said[1]
        read = [b.parse(said[0], 1, 2, level) for b in bitstreams]
        assert_same(*read)


def packets(pcm: Pcm) -> Iterator[Pcm]:
    """[T, 2] -> [2, PACKET] each."""
    for begin in range(0, len(pcm) - PACKET + 1, PACKET):
        yield pcm[begin : begin + PACKET].T


def assert_same(first: Latents, second: Latents) -> None:
    assert first.level == second.level
    np.testing.assert_array_equal(first.gain_index, second.gain_index)
    np.testing.assert_array_equal(first.y, second.y)
    assert (first.waveform is None) is (second.waveform is None)
    if first.waveform is not None and second.waveform is not None:
        for name in ("coded", "loudness", "q", "steps"):
            np.testing.assert_array_equal(
                getattr(first.waveform, name), getattr(second.waveform, name)
            )


def random_latents(seed: int, spread: float, largest: int) -> Latents:
    """Of three packets, at a level without the layer; channels that are more or less alike."""
    rng = np.random.default_rng(seed)
    y = np.rint(rng.laplace(0, spread, (3, 2, LATENTS))).astype(np.int32)
    alike = rng.random((3, LATENTS)) < rng.random()
    y[:, 1][alike] = y[:, 0][alike]
    y = y.clip(-largest, largest)
    gains = rng.integers(GAIN_MIN, GAIN_MIN + GAIN_COUNT, (3, 2)).astype(np.int32)
    gains[rng.random((3, 2)) < 0.2] = GAIN_MIN
    y[gains == GAIN_MIN] = 0
    return Latents(LEVEL, gains, y)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 1, 30, 9_000]))
def test_whatever_latents_say_is_read_again(
    tables: tuple[EntropyTables, JointTables], seed: int, spread: float
) -> None:
    entropy, joint = tables
    latents = random_latents(seed, spread, LATENT_LIMIT)
    bitstreams = [Bitstream(entropy, joint)]
    if library() is not None:
        bitstreams += [NativeBitstream(entropy, name, joint) for name in variants()]
    said = [b.serialize(latents, LEVEL) for b in bitstreams]
    assert len(set(said)) == 1
    if len(said[0]) <= streamcodec.config.MAX_PAYLOAD_BYTES:
        for bitstream in bitstreams:
            assert_same(bitstream.parse(said[0], 3, 2, LEVEL), latents)


@BUILT
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([LEVEL, LAYER_LEVEL]))
def test_damaged_payloads_are_read_or_refused_alike(
    shipped: CodecModel, tables: tuple[EntropyTables, JointTables], seed: int, level: int
) -> None:
    entropy, joint = tables
    rng = np.random.default_rng(seed)
    encoder = StreamEncoder(shipped, level=level, channels=2)
    begin = int(rng.integers(RATE))
    payload = bytearray(encoder.encode(voices("at a side")[begin : begin + PACKET])[0])
    for _ in range(int(rng.integers(1, 4))):
        payload[int(rng.integers(len(payload)))] = int(rng.integers(256))
    said: list[object] = []
    for bitstream in (Bitstream(entropy, joint), NativeBitstream(entropy, joint=joint)):
        try:
            read = bitstream.parse(bytes(payload), 1, 2, level)
            layer = b"" if read.waveform is None else read.waveform.q.tobytes()
            said.append((read.level, read.gain_index.tolist(), read.y.tobytes(), layer))
        except PayloadError as error:
            said.append(str(error))
    assert said[0] == said[1]


def test_batches_losses_and_copies_are_those_of_the_stream_alone(shipped: CodecModel) -> None:
    kinds = ("at a side", "two voices")
    encoders = [StreamEncoder(shipped, level=LEVEL, channels=2, copies=True) for _ in kinds]
    together = streamcodec.encode_together(encoders, [voices(kind)[:RATE] for kind in kinds])
    for kind, payloads in zip(kinds, together, strict=True):
        alone = StreamEncoder(shipped, level=LEVEL, channels=2)
        assert alone.encode(voices(kind)[:RATE]) == payloads
    decoders = [StreamDecoder(shipped, e.config) for e in encoders]
    alone_decoder = StreamDecoder(shipped, encoders[0].config)
    for n, pair in enumerate(zip(*together, strict=True)):
        given_ = [None if n == 10 else payload for payload in pair]
        heard = streamcodec.decode_together(decoders, given_)
        np.testing.assert_allclose(heard[0], alone_decoder.decode(given_[0]), atol=1e-4)
    copy = StreamDecoder(shipped, encoders[0].config).decode(encoders[0].copies[-1])
    assert copy.shape == (PACKET, 2)


def test_a_rate_is_met_whatever_the_channels_are(shipped: CodecModel) -> None:
    for kind, rate in (("two voices", 14_000), ("each its noise", 14_000)):
        pcm = np.tile(voices(kind), (5, 1))
        encoder = StreamEncoder(shipped, bitrate_bps=rate, channels=2)
        spent = 8 * sum(map(len, encoder.encode(pcm))) / (len(pcm) / RATE)
        assert spent == pytest.approx(rate, rel=0.08)


def test_a_file_names_its_tables(shipped: CodecModel) -> None:
    pcm = voices("at a side")
    encoder = StreamEncoder(shipped, level=LEVEL, channels=2)
    payloads = streamcodec.encode(pcm, encoder)
    header = encoder.header(len(pcm), len(payloads))
    assert header.joint_stereo == shipped.joint_hash != ""
    file = io.BytesIO()
    streamcodec.write_container(file, header, payloads)
    file.seek(0)
    recording = streamcodec.read_container(file)
    decoder = StreamDecoder.from_header(shipped, recording.header)
    back = streamcodec.decode(recording.payloads, decoder, len(pcm))
    assert np.std(back[:, 1]) < 0.5 * np.std(back[:, 0])
    other = dataclasses.replace(shipped, joint_hash="0" * 16)
    with pytest.raises(ModelError, match="made with tables .* for joint stereo, .* has 0000"):
        StreamDecoder.from_header(other, recording.header)
    mono = dataclasses.replace(recording.header, channels=1)
    with pytest.raises(ContainerError, match="joint stereo needs 2 channels"):
        StreamDecoder.from_header(shipped, mono)


def test_without_tables_channels_are_coded_apart(shipped: CodecModel) -> None:
    without = dataclasses.replace(shipped, joint=None, joint_hash="")
    pcm = voices("in the middle")
    encoder = StreamEncoder(without, level=LEVEL, channels=2)
    assert not encoder.config.joint
    assert encoder.header().joint_stereo == ""
    apart = StreamEncoder(shipped, level=LEVEL, channels=2, joint_stereo=False)
    assert encoder.encode(pcm) == apart.encode(pcm)
    with pytest.raises(ConfigError, match="has no joint stereo"):
        without.stream_config(2, joint=True)
    with pytest.raises(ConfigError, match="joint stereo needs 2 channels, got 1"):
        CodecConfig(RATE, PACKET, 80, PACKET, joint=True)


def changed(tables: FollowTables, name: str, value: object) -> FollowTables:
    return dataclasses.replace(tables, **{name: value})


def test_tables_that_do_not_fit_are_named(
    tables: tuple[EntropyTables, JointTables], tmp_path: Path
) -> None:
    latents = tables[1].latents
    with pytest.raises(ValueError, match="joint table follows must hold zeros and ones"):
        changed(latents, "follows", latents.follows + 2)
    with pytest.raises(ValueError, match="joint table buckets must ascend"):
        changed(latents, "buckets", latents.buckets[::-1])
    with pytest.raises(ValueError, match="joint table class_frequencies must be of shape"):
        changed(latents, "class_frequencies", latents.class_frequencies[:, 1:])
    with pytest.raises(ValueError, match="joint table frequencies: rows must hold positive"):
        changed(latents, "frequencies", latents.frequencies - 1)
    with pytest.raises(ValueError, match="joint table gain_frequencies must be of shape"):
        dataclasses.replace(tables[1], gain_frequencies=tables[1].gain_frequencies[1:])
    path = tmp_path / catalogue.JOINT_STEREO_FILE
    assert catalogue.joint_stereo(tmp_path) is None
    for damaged in (b"", b"\xff" * 100, (10).to_bytes(8, "little") + b"{}"):
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match=catalogue.JOINT_STEREO_FILE):
            catalogue.joint_stereo(tmp_path)
