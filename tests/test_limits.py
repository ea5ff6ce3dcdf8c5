"""What happens at limits: a payload that must be shorter than its lowest level, a message with too
much in it, a header that cannot be read, a packet that comes twice or from nowhere.
"""

import io
import json
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

import streamcodec
from conftest import voice
from streamcodec import CodecModel, StreamDecoder, StreamEncoder
from streamcodec.coding.container import MAGIC, read_container
from streamcodec.coding.rate import CappedBitrate
from streamcodec.engines.api import Latents
from streamcodec.errors import ConfigError, ContainerError, MalformedMessage, PayloadError
from streamcodec.live.adaptive import AdaptivePlayout
from streamcodec.live.playout import Arrival
from streamcodec.wire.message_json import parse_message
from streamcodec.wire.packet import Flags

LOWEST_CAP_BPS = 1_000  # 2 bytes a packet


def loud_chirp(samples: int) -> NDArray[np.float32]:
    """A sound that the lowest level needs more than 3 bytes a packet for."""
    return (0.9 * np.sign(np.sin(np.arange(samples) ** 1.7 / 500))).astype(np.float32)


@pytest.mark.parametrize("bitrate", [LOWEST_CAP_BPS, 1_200])
def test_a_cap_below_the_lowest_level_is_kept_and_decodes(
    shipped: CodecModel, bitrate: int
) -> None:
    encoder = StreamEncoder(shipped, bitrate_bps=bitrate, capped=True)
    lowest = StreamEncoder(shipped, quality=0.0)
    payloads = streamcodec.encode(loud_chirp(8_000), encoder)
    without_cap = streamcodec.encode(loud_chirp(8_000), lowest)
    limit = int(bitrate * 0.02 / 8)
    assert max(map(len, without_cap)) > limit
    assert max(map(len, payloads)) <= limit
    pcm = streamcodec.decode(payloads, StreamDecoder(shipped, encoder.config), 8_000)
    assert np.isfinite(pcm).all()


def test_a_payload_is_cut_to_as_many_leading_latents_as_fit(shipped: CodecModel) -> None:
    encoder = StreamEncoder(shipped, bitrate_bps=1_150, capped=True)
    lowest = StreamEncoder(shipped, quality=0.0)
    bits, base_level = shipped.bitstream, encoder.config.base_level
    assert lowest.config.base_level == base_level
    cut_short = 0
    for with_cap, without in zip(
        encoder.encode(loud_chirp(8_000)), lowest.encode(loud_chirp(8_000)), strict=True
    ):
        cut, whole = (bits.parse(p, 1, 1, base_level) for p in (with_cap, without))
        assert (cut.level, cut.gain_index) == (0, whole.gain_index)
        left_out = np.flatnonzero((cut.y != whole.y)[0, 0])
        if len(left_out):
            cut_short += 1
            assert not cut.y[0, 0, left_out[0] :].any()
            one_more = whole.y.copy()
            one_more[0, 0, left_out[0] + 1 :] = 0
            longer = bits.serialize(Latents(0, whole.gain_index, one_more), base_level)
            assert len(longer) > 2
    assert cut_short > 10


def test_a_cap_that_leaves_less_than_two_bytes_is_refused() -> None:
    with pytest.raises(ConfigError, match="700 bit/s leaves 1 bytes a payload"):
        CappedBitrate(700, [3_000, 6_000], 0.02)


def test_a_damaged_payload_ends_a_recording_unless_somebody_is_told(model: CodecModel) -> None:
    encoder = StreamEncoder(model, quality=0.5)
    payloads = streamcodec.encode(voice(0.2), encoder)
    payloads[3] = bytes(1_201)
    decoder = StreamDecoder(model, encoder.config)
    with pytest.raises(PayloadError, match="1201 bytes"):
        streamcodec.decode(payloads, decoder)
    told: list[PayloadError] = []
    assert len(streamcodec.decode(payloads, decoder, 3_200, told.append)) == 3_200
    assert [str(error) for error in told] == ["payload of 1201 bytes: at most 1200 are allowed"]


@pytest.mark.parametrize("size", [0, 65_535])
def test_a_header_of_an_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(ContainerError, match=f"stream header of {size} bytes"):
        read_container(io.BytesIO(MAGIC + size.to_bytes(2, "big") + bytes(70_000)))


@pytest.mark.parametrize("header", ["{", "[]", '{"model": "x"}', '{"unknown": 1}'])
def test_a_header_that_cannot_be_read_is_refused(header: str) -> None:
    text = header.encode()
    file = MAGIC + len(text).to_bytes(2, "big") + text + zlib.crc32(text).to_bytes(4, "big")
    with pytest.raises(ContainerError, match="unreadable stream header"):
        read_container(io.BytesIO(file))


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"type": "error", "code": 4400, "message": 7}, "error.message must be a string"),
        (
            {"type": "hello", "version": 3, "role": "listen", "room": "r", "name": "n" * 65},
            "hello.name: at most 64 characters are allowed, got 65",
        ),
        ({"type": "time", "sent_ms": 1e19}, "time.sent_ms must be a number within 1e[+]18"),
        (
            {"type": "report", "stream": 1, "statistics": {f"s{i}": i for i in range(33)}},
            "report.statistics: at most 32 numbers are allowed, got 33",
        ),
        (
            {"type": "report", "stream": 1, "statistics": {"lost": "many"}},
            "report.statistics must hold numbers by name, got 'lost': 'many'",
        ),
        (
            {
                "type": "welcome",
                "session": "s",
                "room": "r",
                "stream": None,
                "streams": [1],
                "talkers": 1,
                "listeners": 1,
            },
            "welcome.streams must be a list of objects",
        ),
    ],
)
def test_a_message_with_too_much_in_it_names_the_field(
    message: dict[str, object], said: str
) -> None:
    with pytest.raises(MalformedMessage, match=said):
        parse_message(json.dumps(message))


def test_a_packet_that_comes_twice_and_one_from_long_ago_are_not_played() -> None:
    playout = AdaptivePlayout(packet_ms=20, samples_per_ms=16)

    def receive(sequence: int, now_ms: float) -> Arrival:
        capture_time = sequence * 320 % (1 << 32)
        return playout.receive(sequence, capture_time, b"p", Flags(0), now_ms)

    assert receive(1_000, 0.0) is Arrival.BUFFERED
    assert receive(1_000, 1.0) is Arrival.DUPLICATE
    assert receive(10, 2.0) is Arrival.LATE
    statistics = playout.statistics()
    assert (statistics.received, statistics.duplicate, statistics.late) == (3, 1, 1)


def test_the_torch_engine_says_how_to_install_it() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import streamcodec\n"
        "try: streamcodec.load_model(engine='torch')\n"
        "except streamcodec.errors.ModelError as error: print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "the torch engine needs torch: pip install 'streamcodec[torch]'" in done.stdout
