"""The waveform layer in the C library against its oracles: PyTorch for the transform, the parts of
a payload for the calls that do all of one.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from conftest import SMALL, small_vae
from streamcodec.coding.coder import Coder, NativeCoder
from streamcodec.coding.layered import Followed, LayeredCoder, NativeLayeredCoder
from streamcodec.coding.native_bitstream import NativeBitstream
from streamcodec.config import CodecConfig
from streamcodec.engines.api import (
    DecodeRequest,
    EncodeRequest,
    Engine,
    Latents,
    Means,
    State,
    Waveform,
)
from streamcodec.engines.native import NativeEngine
from streamcodec.engines.torch import TorchEngine
from streamcodec.native.library import library, variants
from streamcodec.tables import STEP_BAND
from streamcodec_models.catalogue import PACKED_PRECISIONS, packed_file
from streamcodec_models.pack import pack
from streamcodec_models.vae import VoiceVae

pytestmark = pytest.mark.skipif(
    library() is None and not any(map(shutil.which, ("cc", "gcc", "clang"))),
    reason="no C compiler here, so the library could not be built",
)

VARIANTS = variants() or ["none"]
LEAST_SNR_DB = {"float32": 90, "exact": 70, "mixed": 40}
PACKETS, CHANNELS, PACKET = 60, 2, SMALL.packet
LAYERED = SMALL.base_levels  # the first level with the layer


@pytest.fixture(scope="module")
def vae() -> VoiceVae:
    """The small model, whose layer predicts, limits and refines each coefficient otherwise."""
    made = small_vae()
    with torch.no_grad():
        made.waveform.prediction.uniform_(0, 1)
        made.waveform.ceiling.uniform_(-2, 0.3)
        made.waveform.refinement.last.weight.normal_(0, 0.15)
        made.waveform.refinement.last.bias.uniform_(-1, 1)
    return made


@pytest.fixture(scope="module")
def packed(vae: VoiceVae, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    for precision in PACKED_PRECISIONS:
        pack(vae, "0" * 16, folder, precision)
    return folder


def engine_of(
    packed: Path, vae: VoiceVae, precision: str = "mixed", variant: str | None = None
) -> NativeEngine:
    return NativeEngine(packed / packed_file(precision), TorchEngine(vae).shape, variant)


@pytest.fixture(scope="module")
def sound(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, C, packet]: two talkers, the second faint, with a pause of silence."""
    length = PACKETS * PACKET
    channels = np.stack([speech[16_000 : 16_000 + length], 0.05 * speech[99_000 : 99_000 + length]])
    channels[1, 20 * PACKET : 24 * PACKET] = 0
    return np.ascontiguousarray(channels.reshape(CHANNELS, PACKETS, PACKET).swapaxes(0, 1))


@dataclasses.dataclass(frozen=True)
class Said:
    """Packets of a stream: what an engine is given of each, None where it is lost."""

    means: list[Means]
    latents: list[Latents]  # without the layer
    heard: list[Latents | None]


@pytest.fixture(scope="module")
def said(vae: VoiceVae, sound: NDArray[np.float32]) -> Said:
    """By PyTorch, at levels of both kinds in turn, with layers of random width and steps that are
    empty at times.
    """
    rng = np.random.default_rng(0)
    engine = TorchEngine(vae)
    encoder, decoder = (
        engine.initial_encoder_state(CHANNELS),
        engine.initial_decoder_state(CHANNELS),
    )
    made = Said([], [], [])
    for n, pcm in enumerate(sound):
        level = int(rng.integers(LAYERED - 4, SMALL.quality_levels))
        means, encoder = engine.encode(pcm, level, encoder)
        latents = Latents(level, means.gain_index, np.rint(means.mean).astype(np.int32))
        residual, decoder = engine.residual(means, latents, decoder)
        made.means.append(means)
        made.latents.append(latents)
        if level >= LAYERED:
            latents = latents._replace(waveform=layer_of(residual, rng))
        made.heard.append(None if n > 5 and rng.random() < 0.15 else latents)
    assert {h is None or h.waveform is None for h in made.heard} == {False, True}
    return made


def layer_of(residual: NDArray[np.float32], rng: np.random.Generator) -> Waveform:
    bins = STEP_BAND * int(rng.integers(SMALL.narrow_bins // STEP_BAND, SMALL.waveform_bins // 4))
    two, bands = residual.shape[:2], SMALL.waveform_bins // STEP_BAND
    steps = (2 ** rng.uniform(-3, 1, (*two, bands))).astype(np.float32)
    q = np.rint(residual / np.repeat(steps, STEP_BAND, 2)[..., None, :]).astype(np.int32)
    coded = rng.random(two) < 0.8
    q[..., bins:] = 0
    q *= coded[..., None, None]
    return Waveform(bins, coded, np.zeros(two, np.int32), q, steps)


def snr_db(wanted: NDArray[np.float32], got: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.square(wanted).sum() / np.square(wanted - got).sum()))


def residuals(engine: Engine, said: Said) -> NDArray[np.float32]:
    """Of packets with the layer."""
    state, made = engine.initial_decoder_state(CHANNELS), []
    for means, latents in zip(said.means, said.latents, strict=True):
        residual, state = engine.residual(means, latents, state)
        made += [residual] if latents.level >= LAYERED else []
    return np.stack(made)


def coefficients(engine: Engine, said: Said, sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of packets with the layer."""
    state, made = engine.initial_encoder_state(CHANNELS), []
    for latents, pcm in zip(said.latents, sound, strict=True):
        means, state = engine.encode(pcm, latents.level, state)
        assert means.coefficients.shape == (1, CHANNELS, 2, SMALL.waveform_bins)
        made += [means.coefficients] if latents.level >= LAYERED else []
    return np.stack(made)


def decoded(engine: Engine, packets: list[Latents | None]) -> NDArray[np.float32]:
    state, made = engine.initial_decoder_state(CHANNELS), []
    for latents in packets:
        if latents is None:
            pcm, state = engine.conceal(1, CHANNELS, LAYERED, state)
        else:
            pcm, state = engine.decode(latents, state)
        made.append(pcm)
    return np.concatenate(made, 1)


@pytest.fixture(scope="module")
def wanted(
    vae: VoiceVae, said: Said, sound: NDArray[np.float32]
) -> tuple[NDArray[np.float32], ...]:
    engine = TorchEngine(vae)
    return (
        coefficients(engine, said, sound),
        residuals(engine, said),
        decoded(engine, said.heard),
    )


@pytest.mark.parametrize("precision", PACKED_PRECISIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_layer_is_that_of_pytorch(
    packed: Path,
    vae: VoiceVae,
    said: Said,
    sound: NDArray[np.float32],
    wanted: tuple[NDArray[np.float32], ...],
    variant: str,
    precision: str,
) -> None:
    engine = engine_of(packed, vae, precision, variant)
    got = (
        coefficients(engine, said, sound),
        residuals(engine, said),
        decoded(engine, said.heard),
    )
    for mine, theirs in zip(wanted, got, strict=True):
        for c in range(CHANNELS):
            row = (slice(None), slice(None), c) if mine.ndim > 2 else c
            assert snr_db(mine[row], theirs[row]) > LEAST_SNR_DB[precision]


def test_what_is_not_coded_is_heard_as_the_network_says_it(
    packed: Path, vae: VoiceVae, said: Said
) -> None:
    """Not even its last bits change."""
    engine = engine_of(packed, vae)
    empty: list[Latents | None] = [
        latents
        and latents.waveform
        and latents._replace(
            waveform=dataclasses.replace(
                latents.waveform, coded=np.zeros_like(latents.waveform.coded)
            )
        )
        for latents in said.heard
    ]
    plain = [latents and latents._replace(waveform=None) for latents in empty]
    assert np.array_equal(decoded(engine, empty), decoded(engine, plain))


def test_several_packets_of_a_payload_are_each_alone(
    packed: Path, vae: VoiceVae, said: Said, sound: NDArray[np.float32]
) -> None:
    engine, level, packets = engine_of(packed, vae), LAYERED + 3, 3
    pcm = np.concatenate([*sound[:packets]], 1)
    whole, _ = engine.encode(pcm, level, engine.initial_encoder_state(CHANNELS))
    state, parts = engine.initial_encoder_state(CHANNELS), []
    for packet in sound[:packets]:
        means, state = engine.encode(packet, level, state)
        parts.append(means)
    for name in ("gain_index", "mean", "coefficients"):
        together = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(getattr(whole, name), together)
    latents = Latents(level, whole.gain_index, np.rint(whole.mean).astype(np.int32))
    residual, after = engine.residual(whole, latents, engine.initial_decoder_state(CHANNELS))
    state = engine.initial_decoder_state(CHANNELS)
    for p, means in enumerate(parts):
        one = Latents(level, latents.gain_index[p : p + 1], latents.y[p : p + 1])
        alone, state = engine.residual(means, one, state)
        assert np.array_equal(residual[p], alone[0])
    assert np.array_equal(after.array, state.array)


def test_a_state_that_was_handed_in_stays_valid(packed: Path, vae: VoiceVae, said: Said) -> None:
    engine = engine_of(packed, vae)
    state = engine.initial_decoder_state(CHANNELS)
    for means, latents in zip(said.means[:10], said.heard[:10], strict=True):
        if latents is None:
            continue
        kept = state.array.copy()
        first, after = engine.decode(latents, state)
        engine.residual(means, latents, state)
        assert np.array_equal(state.array, kept)
        again, after_again = engine.decode(latents, state)
        assert np.array_equal(first, again)
        assert np.array_equal(after.array, after_again.array)
        state = after


def test_a_batch_is_its_streams(
    packed: Path, vae: VoiceVae, said: Said, sound: NDArray[np.float32]
) -> None:
    """Streams with the layer beside those without, and those that are lost."""
    engine, streams = engine_of(packed, vae), 5
    encoders: list[State] = [engine.initial_encoder_state(CHANNELS) for _ in range(streams)]
    decoders: list[State] = [engine.initial_decoder_state(CHANNELS) for _ in range(streams)]
    for step in range(12):
        at = [(step + 7 * n) % PACKETS for n in range(streams)]
        encodes = [
            EncodeRequest(sound[i], said.latents[i].level, state)
            for i, state in zip(at, encoders, strict=True)
        ]
        made, alone = engine.encode_many(encodes), [engine.encode(*r) for r in encodes]
        for (a, _), (b, _) in zip(made, alone, strict=True):
            assert np.array_equal(a.mean, b.mean)
            assert np.array_equal(a.coefficients, b.coefficients)
        decodes = [
            DecodeRequest(said.heard[i], 1, CHANNELS, said.latents[i].level, state)
            for i, state in zip(at, decoders, strict=True)
        ]
        heard, separate = engine.decode_many(decodes), [engine.decode_many([d])[0] for d in decodes]
        for (a, after_a), (b, after_b) in zip(heard, separate, strict=True):
            assert np.array_equal(a, b)
            assert np.array_equal(after_a.array, after_b.array)
        encoders, decoders = [after for _, after in made], [after for _, after in heard]


@pytest.mark.parametrize(("packets", "channels"), [(1, 1), (1, 2), (3, 1), (2, 2)])
def test_one_call_for_a_payload_is_its_parts(
    packed: Path, vae: VoiceVae, speech: NDArray[np.float32], packets: int, channels: int
) -> None:
    engine, bitstream = engine_of(packed, vae), NativeBitstream(vae.tables())
    size = packets * PACKET
    config = CodecConfig(16_000, PACKET, SMALL.overlap, size, channels, LAYERED)
    together, apart = (
        kind(engine, bitstream, config) for kind in (NativeLayeredCoder, LayeredCoder)
    )
    decoders = [kind(engine, bitstream, config) for kind in (NativeCoder, Coder)]
    follows: list[Followed] = [coder.initial_state() for coder in (together, apart)]
    hears: list[State] = [engine.initial_decoder_state(channels) for _ in decoders]
    spare = None
    rng = np.random.default_rng(0)
    for n in range(120 // packets):
        level = int(rng.integers(LAYERED - 3, SMALL.quality_levels))
        loudness = 0.0 if n % 40 > 33 else 0.02 if n % 40 > 20 else 1.0
        pcm = loudness * np.stack([speech[9_000 * c + size * n :][:size] for c in range(channels)])
        payload, after = together.encode(EncodeRequest(pcm, level, follows[0]), spare)
        wanted, after_apart = apart.encode(EncodeRequest(pcm, level, follows[1]))
        assert payload == wanted
        assert after.loudness == after_apart.loudness
        for mine, theirs in zip(after[:2], after_apart[:2], strict=True):
            assert np.array_equal(mine.array, theirs.array)
        follows, spare = [after, after_apart], follows[0]
        lost = n % 9 == 8
        heard, said, levels = [], None if lost else payload, []
        for i, decoder in enumerate(decoders):
            sound, level, hears[i] = decoder.decode(said, level, hears[i])
            heard.append(sound)
            levels.append(level)
        assert np.array_equal(*heard)
        assert levels[0] == levels[1]
        assert np.array_equal(hears[0].array, hears[1].array)


def test_what_an_encoder_follows_is_what_a_decoder_hears(
    packed: Path, vae: VoiceVae, speech: NDArray[np.float32]
) -> None:
    """To the bit: predictions would drift apart otherwise."""
    engine, bitstream = engine_of(packed, vae), NativeBitstream(vae.tables())
    config = CodecConfig(16_000, PACKET, SMALL.overlap, PACKET, 1, LAYERED)
    encoder, decoder = NativeLayeredCoder(engine, bitstream, config), engine
    state: Followed = encoder.initial_state()
    heard, said = decoder.initial_decoder_state(1), 0
    for n in range(30):
        pcm = speech[None, 16_000 + n * PACKET : 16_000 + (n + 1) * PACKET]
        payload, state = encoder.encode(EncodeRequest(pcm, LAYERED + n % 12, state))
        latents = bitstream.parse(payload, 1, 1, LAYERED)
        said += latents.waveform is not None and bool(latents.waveform.coded.any())
        _, heard = decoder.decode(latents, heard)
        # The next packet without the layer, of which the layer's own state says nothing.
        bare = latents._replace(waveform=None)
        _, mine = decoder.decode(bare, decoder.decode(bare, heard)[1])
        _, theirs = decoder.decode(bare, decoder.decode(bare, state.decoder)[1])
        features = vae.waveform.refinement.features
        own = -(SMALL.hop + 3 * SMALL.waveform_bins + features + -features % 8)
        assert np.array_equal(mine.array[:, :own], theirs.array[:, :own])
    assert said > 20
