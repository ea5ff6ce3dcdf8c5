"""The C library against its oracles: PyTorch for the network, Python for the bitstream."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from conftest import SPEECH, small_vae
from streamcodec import StreamDecoder, StreamEncoder, decode_together, encode_together
from streamcodec.coding.bitstream import Bitstream
from streamcodec.coding.model import CodecModel, load_model
from streamcodec.coding.native_bitstream import NativeBitstream
from streamcodec.coding.symbols import LATENT_LIMIT
from streamcodec.engines.api import (
    DecodeRequest,
    EncodeRequest,
    Engine,
    Latents,
    LoadedModel,
    Means,
)
from streamcodec.engines.native import NativeEngine
from streamcodec.engines.native import load as load_native
from streamcodec.errors import ConfigError, ModelError, PayloadError
from streamcodec.native.library import address_of, library, variants
from streamcodec.tables import GAIN_COUNT, GAIN_MIN
from streamcodec_models import catalogue, weights
from streamcodec_models.pack import pack

pytestmark = pytest.mark.skipif(
    library() is None and not any(map(shutil.which, ("cc", "gcc", "clang"))),
    reason="no C compiler here, so the library could not be built",
)

VARIANTS = variants() or ["none"]
LEVEL = 7
LEAST_SNR_DB = {"float32": 90, "exact": 70, "mixed": 40}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model, packed in every precision."""
    source, folder = catalogue.folder_of(None), tmp_path_factory.mktemp("packed")
    for name in (catalogue.CONFIG_FILE, catalogue.WEIGHTS_FILE):
        (folder / name).symlink_to(source / name)
    loaded = weights.load(folder)
    for precision in catalogue.PACKED_PRECISIONS:
        pack(loaded.vae, loaded.hash, folder, precision, loaded.layered)
    return folder


@pytest.fixture(scope="module")
def packets(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, 1, packet]: four seconds of speech."""
    return speech[16_000 : 16_000 + 200 * 320].reshape(200, 1, 320)


def encoded(engine: Engine, packets: NDArray[np.float32]) -> list[Means]:
    state, made = engine.initial_encoder_state(1), []
    for pcm in packets:
        means, state = engine.encode(pcm, LEVEL, state)
        made.append(means)
    return made


def rounded(means: list[Means]) -> list[Latents]:
    return [Latents(m.level, m.gain_index, np.rint(m.mean).astype(np.int32)) for m in means]


def decoded(
    engine: Engine, latents: list[Latents], lost: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    state, out = engine.initial_decoder_state(1), []
    for n, packet in enumerate(latents):
        if lost is not None and lost[n]:
            pcm, state = engine.conceal(1, 1, LEVEL, state)
        else:
            pcm, state = engine.decode(packet, state)
        out.append(pcm[0])
    return np.concatenate(out)


def snr_db(wanted: NDArray[np.float32], got: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.square(wanted).sum() / np.square(wanted - got).sum()))


@dataclasses.dataclass(frozen=True)
class Reference:
    """What PyTorch makes of the packets, and of its own latents without and with losses."""

    means: list[Means]
    latents: list[Latents]
    lost: NDArray[np.bool_]
    whole: NDArray[np.float32]
    holed: NDArray[np.float32]


@pytest.fixture(scope="module")
def reference(shipped: CodecModel, packets: NDArray[np.float32]) -> Reference:
    means = encoded(shipped.engine, packets)
    latents, lost = rounded(means), np.random.default_rng(0).random(len(packets)) < 0.15
    sound = [decoded(shipped.engine, latents, holes) for holes in (None, lost)]
    return Reference(means, latents, lost, *sound)


@pytest.mark.parametrize("precision", catalogue.PACKED_PRECISIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_network_is_that_of_pytorch(
    packed: Path,
    packets: NDArray[np.float32],
    reference: Reference,
    variant: str,
    precision: str,
) -> None:
    engine = load_native(packed, variant, precision).engine
    means = encoded(engine, packets)
    pairs = list(zip(reference.means, means, strict=True))
    assert all(np.array_equal(a.gain_index, b.gain_index) for a, b in pairs)
    wanted, got = (np.stack([m.mean for m in made]) for made in (reference.means, means))
    # What is rounded to integers next needs less than what is heard.
    assert snr_db(wanted, got) > LEAST_SNR_DB[precision] - 2
    whole = decoded(engine, reference.latents)
    assert snr_db(reference.whole, whole) > LEAST_SNR_DB[precision]
    holed = decoded(engine, reference.latents, reference.lost)
    assert snr_db(reference.holed, holed) > LEAST_SNR_DB[precision]


@given(
    rows=st.integers(1, 9),
    inputs=st.integers(1, 24).map(lambda n: 8 * n),
    panels=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_integer_products_are_exact_in_every_variant(
    rows: int, inputs: int, panels: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    w = rng.integers(-127, 128, (32 * panels, inputs)).astype(np.int8)
    x = rng.integers(-8191, 8192, (rows, inputs)).astype(np.int16)
    wanted = x.astype(np.int64) @ w.T.astype(np.int64)
    for variant in VARIANTS:
        y = np.empty((rows, len(w)), np.int32)
        loaded = library()
        assert loaded is not None
        shape = (rows, inputs, len(w))
        arrays = (address_of(w), address_of(x))
        assert loaded.sc_multiply_int8(variant.encode(), *arrays, *shape, address_of(y)) == 0
        assert np.array_equal(y, wanted), variant


def test_a_state_that_was_handed_in_stays_valid(packets: NDArray[np.float32]) -> None:
    engine = load_native(catalogue.folder_of(None)).engine
    state = engine.initial_encoder_state(1)
    _, state = engine.encode(packets[0], LEVEL, state)
    first, after = engine.encode(packets[1], LEVEL, state)
    other, _ = engine.encode(packets[1], 2, state)
    again, after_again = engine.encode(packets[1], LEVEL, state)
    assert np.array_equal(first.mean, again.mean)
    assert np.array_equal(after.array, after_again.array)
    assert not np.array_equal(first.mean, other.mean)


def test_a_batch_is_its_streams(packets: NDArray[np.float32]) -> None:
    engine = load_native(catalogue.folder_of(None)).engine
    channels = (1, 2, 1, 1)
    encoders = [engine.initial_encoder_state(c) for c in channels]
    decoders = [engine.initial_decoder_state(c) for c in channels]
    for step in range(4):
        sound = [packets[25 * n + step : 25 * n + step + c, 0] for n, c in enumerate(channels)]
        requests = [
            EncodeRequest(pcm, 4 * n, state)
            for n, (pcm, state) in enumerate(zip(sound, encoders, strict=True))
        ]
        together = engine.encode_many(requests)
        alone = [engine.encode(*request) for request in requests]
        for (a, after_a), (b, after_b) in zip(together, alone, strict=True):
            assert np.array_equal(a.mean, b.mean)
            assert np.array_equal(a.gain_index, b.gain_index)
            assert np.array_equal(after_a.array, after_b.array)
        encoders = [after for _, after in together]
        holes = [
            DecodeRequest(None if n == 3 else latents, 1, c, 4 * n, state)
            for n, (latents, c, state) in enumerate(
                zip(rounded([m for m, _ in together]), channels, decoders, strict=True)
            )
        ]
        heard, separate = engine.decode_many(holes), [engine.decode_many([h])[0] for h in holes]
        for (a, after_a), (b, after_b) in zip(heard, separate, strict=True):
            assert np.array_equal(a, b)
            assert np.array_equal(after_a.array, after_b.array)
        decoders = [after for _, after in heard]


def test_streams_that_are_coded_together_are_those_that_are_coded_alone(
    speech: NDArray[np.float32],
) -> None:
    model = load_model(engine="native")

    def encoders() -> list[StreamEncoder]:
        rates = (3_000, 6_000, 12_000)
        made = [StreamEncoder(model, bitrate_bps=rate) for rate in rates]
        return [*made, StreamEncoder(model, quality=0.4, packet_ms=60, copies=True)]

    chunks = [speech[20_000 * n : 20_000 * n + 8_000] for n in range(4)]
    together, alone = encoders(), encoders()
    payloads = encode_together(together, chunks)
    assert payloads == [e.encode(c) for e, c in zip(alone, chunks, strict=True)]
    assert together[3].copies == alone[3].copies
    first = [made[0] for made in payloads]
    decoders = [[StreamDecoder(model, e.config) for e in together] for _ in range(2)]
    heard = decode_together(decoders[0], [first[0], None, first[2], first[3]])
    for n, decoder in enumerate(decoders[1]):
        assert np.array_equal(heard[n], decoder.decode(None if n == 1 else first[n]))
    with pytest.raises(PayloadError):
        decode_together(decoders[0], [first[0], b"\xff" * 40, None, None])
    again = decode_together(decoders[0], [first[0], first[1], first[2], first[3]])
    for n, decoder in enumerate(decoders[1]):
        assert np.array_equal(again[n], decoder.decode(first[n]))
    assert decode_together([], []) == []


def test_a_small_model_of_another_shape_runs_too(
    tmp_path: Path, packets: NDArray[np.float32]
) -> None:
    vae = small_vae()
    weights.save(tmp_path, vae, vae.tables(), [3000.0 * 1.15**n for n in range(16)])
    loaded = weights.load(tmp_path)
    pack(loaded.vae, loaded.hash, tmp_path, "float32")
    engine = load_native(tmp_path, precision="float32").engine
    reference = load_model(tmp_path, "cpu", "torch").engine
    latents = rounded(encoded(reference, packets))
    assert snr_db(decoded(reference, latents), decoded(engine, latents)) > 80


@pytest.fixture(scope="module")
def bitstreams() -> tuple[Bitstream, NativeBitstream]:
    tables = catalogue.describe(catalogue.folder_of(None)).tables
    return Bitstream(tables), NativeBitstream(tables)


def test_payloads_are_those_of_the_python_bitstream(
    bitstreams: tuple[Bitstream, NativeBitstream],
    reference: Reference,
) -> None:
    native = bitstreams[1]
    for n, means in enumerate(reference.means):
        wanted, got = (b.encode(means, (n * 7) % 16) for b in bitstreams)
        assert wanted[1] == got[1]
        assert np.array_equal(wanted[0].y, got[0].y)
        parsed = native.parse(got[1], 1, 1, (n * 7) % 16)
        assert parsed.level == means.level
        assert np.array_equal(parsed.y, wanted[0].y)
        assert np.array_equal(parsed.gain_index, means.gain_index)


@settings(max_examples=40)
@given(
    packets=st.integers(1, 3),
    channels=st.integers(1, 2),
    levels=st.tuples(st.integers(0, 8), st.integers(0, 15)),  # the first without the layer
    spread=st.sampled_from([0.0, 0.3, 2.0, 40.0, 9_000.0]),
    silent=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_both_bitstreams_say_the_same_of_anything(
    bitstreams: tuple[Bitstream, NativeBitstream],
    packets: int,
    channels: int,
    levels: tuple[int, int],
    spread: float,
    silent: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    shape = (packets, channels)
    gains = rng.integers(GAIN_MIN, GAIN_MIN + GAIN_COUNT, shape).astype(np.int32)
    if silent:
        gains[0, 0] = GAIN_MIN
    mean = (rng.standard_normal((*shape, 192)) * spread).astype(np.float32)
    mean[rng.random(mean.shape) < 0.1] += 0.5  # ties
    means = Means(levels[0], gains, mean, np.empty((*shape, 0, 0), np.float32))
    (latents, payload), (got, native_payload) = (b.encode(means, levels[1]) for b in bitstreams)
    assert payload == native_payload
    assert np.array_equal(latents.y, got.y)
    if len(payload) <= 1200:
        read = [b.parse(payload, packets, channels, levels[1]) for b in bitstreams]
        assert np.array_equal(read[0].y, read[1].y)
        assert np.array_equal(read[0].gain_index, read[1].gain_index)


@given(
    payload=st.binary(max_size=64), shape=st.sampled_from([(1, 1), (3, 2)]), base=st.integers(0, 15)
)
def test_both_refuse_and_read_the_same_bytes(
    bitstreams: tuple[Bitstream, NativeBitstream], payload: bytes, shape: tuple[int, int], base: int
) -> None:
    said: list[object] = []
    for bitstream in bitstreams:
        try:
            read = bitstream.parse(payload, *shape, base)
            said.append((read.level, read.gain_index.tolist(), read.y.tolist()))
        except PayloadError as error:
            said.append(str(error))
    assert said[0] == said[1]


def test_what_a_payload_cannot_say_is_the_callers_mistake(
    bitstreams: tuple[Bitstream, NativeBitstream],
) -> None:
    gains, y = np.array([[0]], np.int32), np.zeros((1, 1, 192), np.int32)
    for bitstream in bitstreams:
        beyond = bitstream.levels
        with pytest.raises(ValueError, match=f"level must be 0 to {beyond - 1}, got {beyond}"):
            bitstream.serialize(Latents(beyond, gains, y), 0)
        with pytest.raises(ValueError, match="latents must lie within"):
            bitstream.serialize(Latents(0, gains, y + LATENT_LIMIT + 1), 0)


def test_packed_weights_are_checked(packed: Path, tmp_path: Path) -> None:
    def folder(change: str) -> Path:
        made = tmp_path / change
        made.mkdir()
        for name in (catalogue.CONFIG_FILE, catalogue.WEIGHTS_FILE):
            (made / name).symlink_to(packed / name)
        return made

    stored = (packed / catalogue.packed_file("mixed")).read_bytes()
    with pytest.raises(ModelError, match=r"no model\.mixed\.native: pack it"):
        load_native(folder("missing"))
    for change, data, message in (
        ("cut", stored[:-64], "damaged"),
        ("longer", stored + bytes(64), "damaged"),
        ("empty", b"", "packed from model"),
        ("other", stored[:16] + b"0123456789abcdef" + stored[32:], "packed from model 0123"),
        ("version", stored[:8] + b"\x09" + stored[9:], "another version"),
        ("shape", stored[:32] + b"\xff\xff\xff\x7f" * 26 + stored[136:], "networks of this shape"),
    ):
        made = folder(change)
        (made / catalogue.packed_file("mixed")).write_bytes(data)
        with pytest.raises(ModelError, match=message):
            load_native(made)
    with pytest.raises(ModelError, match="lacks the instructions"):
        load_native(packed, "mmx")


def test_engines_are_chosen_by_name(packed: Path, model_folder: Path) -> None:
    assert isinstance(load_model(packed).engine, NativeEngine)
    assert isinstance(load_model(packed, engine="native").engine, NativeEngine)
    assert not isinstance(load_model(packed, engine="torch").engine, NativeEngine)
    assert not isinstance(load_model(model_folder, "cpu").engine, NativeEngine)  # it is not packed
    with pytest.raises(ConfigError, match="engine must be one of auto, native, torch, got 'onnx'"):
        load_model(packed, engine="onnx")
    with pytest.raises(ConfigError, match="for device cuda take engine torch"):
        load_model(packed, "cuda", "native")


def test_loaded_models_agree_on_everything_but_the_engine(
    packed: Path, shipped: CodecModel
) -> None:
    loaded: LoadedModel = load_native(packed)
    assert loaded.hash == shipped.hash
    assert loaded.level_bitrates_bps == shipped.level_bitrates_bps
    assert loaded.engine.shape == shipped.engine.shape
    assert SPEECH.is_file()
