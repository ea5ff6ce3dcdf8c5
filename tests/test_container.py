import io
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamcodec
from conftest import voice
from streamcodec.coding.container import StreamHeader, read_container, write_container
from streamcodec.coding.model import CodecModel
from streamcodec.errors import ConfigError, ContainerError, ModelError

HEADER = StreamHeader("0123456789abcdef", 16_000, 320, 48_000, 1, 5, samples=4_800, payloads=3)
PAYLOADS = [b"abc", None, b"x" * 300]


def written(header: StreamHeader = HEADER, payloads: list[bytes | None] = PAYLOADS) -> bytes:
    file = io.BytesIO()
    write_container(file, header, payloads)
    return file.getvalue()


def test_round_trip() -> None:
    recording = read_container(io.BytesIO(written()))
    assert recording.header == HEADER
    assert recording.payloads == PAYLOADS
    assert recording.damage is None


def complaint_about_a_header_cut_at(length: int) -> str:
    if length == 0:
        return "not a streamcodec file: it is empty"
    if length < 3:
        return "not a streamcodec file: it begins with "
    if length < 4:
        return "file of format "
    if length < 6:  # the two bytes that give the header's size
        return "stream header of 0 bytes: "
    return "the file ends inside its stream header"


@given(st.integers(0, len(written()) - 1))
def test_a_cut_file_gives_what_is_whole_and_says_what_is_missing(length: int) -> None:
    try:
        recording = read_container(io.BytesIO(written()[:length]))
    except ContainerError as error:
        assert length < len(written(HEADER, []))
        assert str(error).startswith(complaint_about_a_header_cut_at(length))
        return
    assert recording.payloads == PAYLOADS[: len(recording.payloads)]
    assert recording.damage is not None
    assert f"{len(recording.payloads)} of 3 payloads are whole" in recording.damage


def test_a_stream_of_unknown_length_cut_inside_a_payload_says_so() -> None:
    header = StreamHeader("0123456789abcdef", 16_000, 320, 16_000, 1, 5)
    recording = read_container(io.BytesIO(written(header)[:-5]))
    assert recording.payloads == PAYLOADS[:2]
    assert recording.damage == "the file ends, or is damaged, inside payload 2"


@given(st.binary(max_size=300))
def test_foreign_bytes_are_one_error(junk: bytes) -> None:
    with pytest.raises(ContainerError):
        read_container(io.BytesIO(b"RIFF" + junk))


@given(st.binary(max_size=300))
def test_junk_behind_the_header_never_crashes(junk: bytes) -> None:
    recording = read_container(io.BytesIO(written(HEADER, []) + junk))
    assert sum(len(p or b"") for p in recording.payloads) <= len(junk)


@given(st.integers(6, len(written(HEADER, [])) - 1), st.integers(1, 255))
def test_a_changed_header_is_noticed(position: int, change: int) -> None:
    changed = bytearray(written())
    changed[position] ^= change
    with pytest.raises(ContainerError):
        read_container(io.BytesIO(bytes(changed)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("channels", 9),
        ("sample_rate", 0),
        ("samples", -1),
        ("packet_samples", 319.5),
        ("model", 7),
    ],
)
def test_a_header_out_of_range_names_the_field(field: str, value: object) -> None:
    """Where it is read, and before it is written."""
    header = StreamHeader(**{**HEADER.__dict__, field: value})  # type: ignore[arg-type]
    file = io.BytesIO()
    with pytest.raises(ContainerError, match=field):
        write_container(file, header, PAYLOADS)
    assert file.getvalue() == b""
    text = json.dumps(header.__dict__).encode()
    size, checksum = len(text).to_bytes(2, "big"), zlib.crc32(text).to_bytes(4, "big")
    with pytest.raises(ContainerError, match=field):
        read_container(io.BytesIO(written()[:4] + size + text + checksum))


def test_a_payload_that_nobody_reads_is_not_written() -> None:
    file = io.BytesIO()
    with pytest.raises(ContainerError, match="payload 1 must have at most 1200 bytes, got 1201"):
        write_container(file, HEADER, [b"x" * 1_200, b"x" * 1_201])
    assert file.getvalue() == b""


def test_what_follows_the_last_payload_is_not_called_whole_and_not_read() -> None:
    recording = read_container(io.BytesIO(written() + bytes(100_000)))
    assert recording.payloads == PAYLOADS
    assert recording.damage is not None
    assert "something follows the 3 payloads" in recording.damage


def test_a_file_of_an_older_format_is_named() -> None:
    with pytest.raises(ContainerError, match="format 2; this program reads 3"):
        read_container(io.BytesIO(b"SCV2" + bytes(40)))


def test_a_program_writes_and_reads_files_through_the_public_api(model: CodecModel) -> None:
    pcm = voice(1.0, 44_100)
    encoder = streamcodec.StreamEncoder(model, quality=1.0, sample_rate=44_100)
    payloads = streamcodec.encode(pcm, encoder)
    file = io.BytesIO()
    streamcodec.write_container(file, encoder.header(len(pcm), len(payloads)), payloads)
    file.seek(0)
    recording = streamcodec.read_container(file)
    assert isinstance(recording, streamcodec.Recording)
    assert isinstance(recording.header, streamcodec.StreamHeader)
    assert recording.damage is None
    decoder = streamcodec.StreamDecoder.from_header(model, recording.header)
    assert decoder.sample_rate == 44_100
    sound = streamcodec.decode(recording.payloads, decoder, recording.header.samples)
    expected = streamcodec.StreamDecoder(model, encoder.config, sample_rate=44_100)
    assert np.array_equal(sound, streamcodec.decode(payloads, expected, len(pcm)))


def test_rates_and_counts_may_be_integers_of_any_type_and_nothing_else(model: CodecModel) -> None:
    encoder = streamcodec.StreamEncoder(model, quality=0.5, sample_rate=np.int64(48_000))
    file = io.BytesIO()
    streamcodec.write_container(file, encoder.header(np.int64(960), np.int32(0)), [])
    file.seek(0)
    assert streamcodec.read_container(file).header.source_rate == 48_000
    for settings in ({"quality": 0.5, "channels": np.int64(2)}, {"level": np.int32(3)}):
        of_numpy = streamcodec.StreamEncoder(model, **settings)  # type: ignore[arg-type]
        assert written(of_numpy.header(0, 0), [])
    for rate in (48_000.0, np.float64(44_100), "48000"):
        with pytest.raises(ConfigError, match="sample rate must be a whole number"):
            streamcodec.StreamEncoder(model, quality=0.5, sample_rate=rate)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="sample rate must be a whole number"):
            streamcodec.StreamDecoder(model, encoder.config, sample_rate=rate)  # type: ignore[arg-type]


def test_a_file_of_another_model_is_not_decoded(model: CodecModel) -> None:
    with pytest.raises(ModelError, match=f"made with model {HEADER.model}, and this is"):
        streamcodec.StreamDecoder.from_header(model, HEADER)


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("packet_samples", 480, "packet_samples must be one of 320, 640, 960, got 480"),
        ("sample_rate", 8_000, "sample_rate must be 16000, the model's, got 8000"),
        ("base_level", 24, "base level must be 0 to 23, got 24"),
    ],
)
def test_a_header_that_its_model_cannot_have_written_is_refused(
    model: CodecModel, field: str, value: int, complaint: str
) -> None:
    """What a packet may hold depends on the model: a file alone does not know."""
    header = StreamHeader(**{**HEADER.__dict__, "model": model.hash, field: value})
    assert read_container(io.BytesIO(written(header))).header == header
    with pytest.raises(ContainerError, match=f"stream header: {complaint}"):
        streamcodec.StreamDecoder.from_header(model, header)


@pytest.mark.parametrize("packet_ms", [20, 40, 60])
def test_the_duration_of_packets_survives_a_file(model: CodecModel, packet_ms: int) -> None:
    encoder = streamcodec.StreamEncoder(model, quality=0.5, packet_ms=packet_ms)
    decoder = streamcodec.StreamDecoder.from_header(model, encoder.header())
    assert decoder.config == encoder.config
    assert decoder.config.packet_ms == packet_ms


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"payloads": 10**400}, "payloads must be a count"),
        ({"samples": 10**400}, "samples must be a count"),
        ({"model": "\x1b[2J\n"}, "model must be a hash of 16 hex digits"),
        ({"model": "\ud800" * 16}, "model must be a hash"),
        ({"model": ""}, "model must be a hash"),
        ({"high_band": "0" * 15}, "high_band must be a hash"),
        (None, "unreadable stream header"),  # nested deeper than Python reads
    ],
)
def test_headers_that_only_a_forger_writes_are_refused(
    change: dict[str, object] | None, said: str
) -> None:
    fields = {
        "model": "0123456789abcdef",
        "sample_rate": 16_000,
        "packet_samples": 320,
        "source_rate": 16_000,
        "channels": 1,
        "base_level": 3,
    }
    text = b"[" * 1_500 if change is None else json.dumps({**fields, **change}).encode()
    size, checksum = len(text).to_bytes(2, "big"), zlib.crc32(text).to_bytes(4, "big")
    with pytest.raises(ContainerError, match=said):
        read_container(io.BytesIO(b"SCV3" + size + text + checksum))
