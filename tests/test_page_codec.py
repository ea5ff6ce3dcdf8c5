"""The codec as a page has it: small enough to fetch, and it says and hears what ours does."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from conftest import SPEECH, small_vae
from streamcodec import StreamDecoder, StreamEncoder, load_model
from streamcodec.coding.full_band import descriptions_in
from streamcodec.coding.model import CodecModel
from streamcodec.coding.page_codec import MAGIC, TABLES_MAGIC, PageCodec, page_codec
from streamcodec.coding.pcm import Resampler
from streamcodec.errors import ModelError
from streamcodec.live.timescale import TimeScaler
from streamcodec_models import catalogue
from streamcodec_models.pack import pack
from streamcodec_models.packed_layout import packed_network

PAGE = Path(__file__).parents[1] / "server" / "streamcodec_server" / "page"
CORE, WASM = PAGE / "core.js", PAGE / "streamcodec.wasm"
HARNESS = Path(__file__).with_name("page_codec.mjs")
LARGEST_BYTES = 5_000_000
LARGEST_TABLES_BYTES = 200_000
LEVEL = 7
STRETCHER_DELAY = 16  # samples of the resampler in it
LEAST_SNR_DB = 35  # 44 and 47 were measured: what int8 in place of float16 changes


@pytest.fixture(scope="module")
def made() -> PageCodec:
    return page_codec()


@pytest.fixture(scope="module")
def model() -> CodecModel:
    return load_model()


@pytest.fixture
def files(made: PageCodec, tmp_path: Path) -> Path:
    for name, body in made.files.items():
        (tmp_path / name).write_bytes(body)
    (tmp_path / "pcm").write_bytes(speech().tobytes())
    return tmp_path


def speech() -> NDArray[np.float32]:
    pcm, _ = soundfile.read(SPEECH, dtype="float32", frames=5 * 16_000)
    return np.asarray(pcm, "<f4")


def full_band_speech(channels: int) -> NDArray[np.float32]:
    """[T, C] at 48 kHz: noise above 8 kHz that swells, in the second channel at other times."""
    core = Resampler(16_000, 48_000, 1).convert(speech()[:, None])
    noise = np.random.default_rng(0).normal(0, 0.05, core.shape)
    at = np.arange(len(core))[:, None]
    first, second = (core + noise * np.square(np.sin(at / each)) for each in (9_000, 6_000))
    pcm = np.concatenate([first, 0.7 * second], 1)
    return pcm[:, :channels].astype("<f4")


def in_node(
    files: Path, level: int = LEVEL, **asked: Any
) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """What the page says of itself, and what its decoder made of the payloads, [T, C]. asked: see
    the harness.
    """
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node: apt install nodejs")
    described = json.dumps({"level": level, "layered": level != LEVEL, **asked})
    command = [node, HARNESS, CORE, WASM, files, described]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said, sound_in(files / "out", asked.get("info", {}).get("channels", 1))


def sound_in(file: Path, channels: int) -> NDArray[np.float32]:
    """[T, C]"""
    return np.fromfile(file, "<f4").reshape(-1, channels)


def write(files: Path, payloads: list[bytes]) -> None:
    written = b"".join(struct.pack("<H", len(p)) + p for p in payloads)
    (files / "given").write_bytes(written)


def written(file: Path) -> list[bytes]:
    """Its inverse."""
    data, payloads = file.read_bytes(), []
    while data:
        size = struct.unpack_from("<H", data)[0]
        payloads.append(data[2 : 2 + size])
        data = data[2 + size :]
    return payloads


def decoded(model: CodecModel, level: int, payloads: list[bytes]) -> NDArray[np.float32]:
    """By our engine, the fifth lost, as the harness does."""
    decoder = StreamDecoder(model, StreamEncoder(model, level=level).config)
    return heard_of(decoder, payloads)


def heard_of(
    decoder: StreamDecoder, payloads: list[bytes], resets: dict[int, bool] | None = None
) -> NDArray[np.float32]:
    """[T, C]. resets: payloads before which the decoder is reset, and whether one begins there."""
    heard = []
    for n, payload in enumerate(payloads):
        if resets and n in resets:
            decoder.reset(begins=resets[n])
        heard.append(decoder.decode(None if n == 5 else payload))
    return np.concatenate(heard)


def above_the_core(pcm: NDArray[np.float32]) -> NDArray[np.float32]:
    """[T, C] at 48 kHz -> what is above 8.5 kHz."""
    spectrum = np.fft.rfft(pcm, axis=0)
    spectrum[: len(spectrum) * 85 // 240] = 0
    return np.fft.irfft(spectrum, len(pcm), axis=0).astype(np.float32)


def snr_db(wanted: NDArray[np.float32], got: NDArray[np.float32]) -> float:
    """Of the channel in which it is the least."""
    assert wanted.shape == got.shape
    ratios = np.square(wanted).sum(0) / np.square(wanted - got).sum(0)
    return float(10 * np.log10(ratios.min()))


def test_what_a_page_fetches_first_is_small(made: PageCodec) -> None:
    small = made.smallest()
    assert len(small.base) <= LARGEST_BYTES
    assert len(made.base) < 1.02 * len(small.base)  # what the relay begins with
    assert gzip.decompress(small.base) == gzip.decompress(made.base)
    assert gzip.decompress(made.base).startswith(MAGIC)
    assert made.layered is not None
    assert small.layered is not None
    assert gzip.decompress(small.layered) == gzip.decompress(made.layered)
    assert made == page_codec()  # to the byte: its name in the browser's cache is its hash


def test_tables_are_a_small_file_of_their_own(made: PageCodec, model: CodecModel) -> None:
    assert made.tables is not None
    assert len(made.tables) < LARGEST_TABLES_BYTES
    data = gzip.decompress(made.tables)
    assert data.startswith(TABLES_MAGIC)
    begin = len(TABLES_MAGIC) + 4
    head = json.loads(data[begin : begin + int.from_bytes(data[begin - 4 : begin], "little")])
    assert head["highBand"]["hash"] == model.high_band_hash
    assert head["jointStereo"]["hash"] == model.joint_hash
    assert gzip.decompress(made.smallest().tables or b"") == data


def test_a_model_without_tables_has_no_such_file(tmp_path: Path) -> None:
    for file in catalogue.folder_of(None).iterdir():
        if file.name not in (catalogue.HIGH_BAND_FILE, catalogue.JOINT_STEREO_FILE):
            (tmp_path / file.name).symlink_to(file)
    without = page_codec(tmp_path)
    assert without.tables is None
    assert without.files["tables"] == b""
    assert without.smallest().tables is None


def test_what_the_page_encodes_is_heard_by_our_engine_as_by_its_own(
    files: Path, model: CodecModel
) -> None:
    said, heard = in_node(files)
    payloads = written(files / "payloads")
    facts = {"hash": model.hash, "rate": 16_000, "overlap": model.config.overlap}
    assert said == {**facts, "packets": len(payloads), "refused": 1}
    assert snr_db(decoded(model, LEVEL, payloads), heard) > LEAST_SNR_DB
    ours = StreamEncoder(model, level=LEVEL).encode(speech())
    assert sum(map(len, payloads)) == pytest.approx(sum(map(len, ours)), rel=0.03)


def test_the_pages_full_band_is_heard_by_our_engine_as_by_its_own(
    files: Path, model: CodecModel
) -> None:
    pcm = full_band_speech(1)
    (files / "pcm").write_bytes(pcm.tobytes())
    said, heard = in_node(files, tables=True)
    payloads = written(files / "payloads")
    encoder = StreamEncoder(model, level=LEVEL, full_band=True)
    ours = encoder.encode(pcm)
    assert (said["rate"], said["overlap"]) == (48_000, encoder.config.overlap)
    assert said["refused"] == 2  # one has nothing but a high band
    assert len(payloads) == len(ours)
    # Both split before their networks round differently.
    assert [p[-2:] for p in payloads] == [p[-2:] for p in ours]
    assert [p[-2:] for p in written(files / "copies")] == [p[-2:] for p in ours]
    wanted = heard_of(StreamDecoder(model, encoder.config), payloads)
    assert snr_db(wanted, heard) > LEAST_SNR_DB
    assert snr_db(above_the_core(wanted), above_the_core(heard)) > LEAST_SNR_DB
    copies = heard_of(StreamDecoder(model, encoder.config), written(files / "copies"))
    assert snr_db(above_the_core(wanted), above_the_core(copies)) > LEAST_SNR_DB


def test_the_page_hears_streams_with_the_waveform_layer(files: Path, model: CodecModel) -> None:
    level = model.engine.shape.base_levels + 1
    payloads = StreamEncoder(model, level=level).encode(speech())
    write(files, payloads)
    _, heard = in_node(files, level, payloads="given")
    assert snr_db(decoded(model, level, payloads), heard) > LEAST_SNR_DB


def test_without_tables_the_page_passes_over_what_describes_the_high_band(
    files: Path, model: CodecModel
) -> None:
    level = model.engine.shape.base_levels + 1
    encoder = StreamEncoder(model, level=level, full_band=True, sample_rate=16_000)
    payloads = encoder.encode(speech())
    write(files, payloads)
    _, heard = in_node(files, level, payloads="given", info={"highBand": model.high_band_hash})
    size = encoder.config.description_bytes
    assert snr_db(decoded(model, level, [p[:-size] for p in payloads]), heard) > LEAST_SNR_DB


@pytest.mark.parametrize(
    ("channels", "packet_ms", "joint"),
    [(1, 20, False), (1, 60, False), (2, 40, False), (2, 20, True), (2, 40, True)],
)
@pytest.mark.parametrize("layered", [False, True])
def test_the_page_hears_full_band_and_joint_stereo_as_our_engine_does(
    channels: int, packet_ms: int, joint: bool, layered: bool, files: Path, model: CodecModel
) -> None:
    level = model.engine.shape.base_levels + 1 if layered else LEVEL
    encoder = StreamEncoder(
        model,
        level=level,
        channels=channels,
        packet_ms=packet_ms,
        full_band=True,
        joint_stereo=joint,
    )
    payloads = encoder.encode(full_band_speech(channels))
    if joint:  # second channels are described by one byte, and by two
        seconds = {len(descriptions_in(p, encoder.config)[1]) for p in payloads}
        assert seconds == {1, 2}
    write(files, payloads)
    info = stream_info(encoder, model)
    said, heard = in_node(
        files, level, payloads="given", info=info, tables=True, gaps=[20], begins=[31, 32]
    )
    assert said["rate"] == 48_000
    resets = {20: False, 31: True, 32: True}
    wanted = heard_of(StreamDecoder(model, encoder.config), payloads, resets)
    assert snr_db(wanted, heard) > LEAST_SNR_DB
    assert snr_db(above_the_core(wanted), above_the_core(heard)) > LEAST_SNR_DB


@pytest.mark.parametrize("full_band", [False, True])
def test_both_channels_are_played_faster_and_slower_at_the_same_places(
    full_band: bool, files: Path, model: CodecModel
) -> None:
    encoder = StreamEncoder(
        model, level=LEVEL, channels=2, full_band=full_band, joint_stereo=full_band
    )
    pcm = full_band_speech(2) if full_band else speech()[:, None] * np.ones(2, np.float32)
    pcm[:, 1] = np.roll(pcm[:, 1], len(pcm) // 3)  # two people
    payloads = encoder.encode(pcm)
    write(files, payloads)
    info, speeds = stream_info(encoder, model), [1.12] * 30 + [0.85] * 20
    _, heard = in_node(files, payloads="given", info=info, tables=full_band, speeds=speeds)
    wanted = heard_of(StreamDecoder(model, encoder.config), payloads)
    assert snr_db(wanted, heard) > LEAST_SNR_DB
    scaler = TimeScaler(encoder.config.sample_rate)
    packets = np.split(heard, len(payloads))
    scaled = [scaler.scale(p, speeds[n % len(speeds)]) for n, p in enumerate(packets)]
    assert len({len(p) for p in scaled}) > 10
    # The page resamples for fine speeds, too, which at any other only delays.
    played = sound_in(files / "played", 2)[STRETCHER_DELAY:]
    assert snr_db(np.concatenate(scaled)[:-STRETCHER_DELAY], played) > 100


@pytest.mark.parametrize("foreign", [False, True])
def test_what_says_nothing_of_the_high_band_is_silent_there(
    foreign: bool, files: Path, model: CodecModel
) -> None:
    level = model.engine.shape.base_levels + 1
    encoder = StreamEncoder(model, level=level, full_band=foreign, sample_rate=48_000)
    payloads = encoder.encode(full_band_speech(1))
    write(files, payloads)
    digest = "f" * 16 if foreign else ""
    _, heard = in_node(files, level, payloads="given", info={"highBand": digest}, tables=True)
    config = model.full_band(model.stream_config(base_level=level))
    config = dataclasses.replace(config, high_band=foreign)
    wanted = heard_of(StreamDecoder(model, config, high_band=digest), payloads)
    assert snr_db(wanted, heard) > LEAST_SNR_DB
    assert np.square(above_the_core(heard)).sum() < 1e-4 * np.square(heard).sum()


def stream_info(encoder: StreamEncoder, model: CodecModel) -> dict[str, Any]:
    """As the page has it."""
    config = encoder.config
    return {
        "channels": config.channels,
        "packetSamples": config.wire_packet_samples,
        "highBand": model.high_band_hash if config.high_band else "",
        "jointStereo": model.joint_hash if config.joint else "",
    }


@pytest.mark.parametrize("seed", [0, 1])
def test_the_layout_of_packed_weights_is_that_of_the_file(tmp_path: Path, seed: int) -> None:
    vae = small_vae(seed)
    packed = pack(vae, "0" * catalogue.HASH_DIGITS, tmp_path, "mixed").read_bytes()
    network = packed_network(packed)
    assert network.bytes == len(packed)
    by_name = {layer.name: layer for layer in network.halves}
    head = by_name["head"]
    stored = np.frombuffer(packed, "<f2", head.inputs * head.outputs, head.at)
    weights = stored.reshape(-1, head.inputs, 32).transpose(0, 2, 1).reshape(-1, head.inputs)
    wanted = vae.head.weight.detach().numpy()
    assert np.allclose(weights[: len(wanted)], wanted, atol=1e-3)
    with pytest.raises(ModelError, match="bytes a network, got"):
        packed_network(packed[:-64])
    with pytest.raises(ModelError, match="mixed"):
        packed_network(pack(vae, "0" * 16, tmp_path, "exact").read_bytes())
    with pytest.raises(ModelError, match="no packed weights"):
        packed_network(b"SCNATIV")


def test_a_model_that_is_not_packed_says_so(tmp_path: Path) -> None:
    for name in (catalogue.CONFIG_FILE, catalogue.WEIGHTS_FILE):
        shutil.copy(catalogue.folder_of(None) / name, tmp_path / name)
    with pytest.raises(ModelError, match=r"a page needs .*mixed\.native"):
        page_codec(tmp_path)
