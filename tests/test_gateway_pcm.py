"""What a client of the gateway may ask for, and raw PCM in and out, on a simulated clock."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from fakes import ManualClock
from streamcodec.errors import ConfigError
from streamcodec.wire.session import Role, StreamEnd, Welcome
from streamcodec_client.gateway.outbox import Outbox
from streamcodec_client.gateway.pcm import FrameSink, FrameWriter, SocketSource
from streamcodec_client.gateway.request import Request, parse_request

DOCUMENT = Path(__file__).parents[1] / "docs" / "gateway.md"
FRAME = 320  # samples of 20 ms
RATE = 16_000

# --- what a client asks for -----------------------------------------------------------------------


def test_a_url_says_what_a_client_wants() -> None:
    assert parse_request("/lobby") == Request("lobby", "gateway", 16_000, Role.BOTH)
    wanted = Request("caf\u00e9 1", "Ada", 8_000, Role.LISTEN)
    assert parse_request("/caf%C3%A9%201?name=Ada&rate=8000&role=listen") == wanted


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("/", "room must be 1 to 64 printable characters, got ''"),
        ("/" + 65 * "a", "room must be"),
        ("/a?name=", "name must be"),
        ("/a?name=%07", "name must be"),
        ("/a?rate=7950", "rate must be 8000 to 48000 Hz, in steps of 50, got '7950'"),
        ("/a?rate=48050", "rate must be"),
        ("/a?rate=16010", "rate must be"),
        ("/a?rate=" + 5_000 * "9", "rate must be"),
        ("/a?rate=fast", "rate must be"),
        ("/a?role=sing", "role must be one of talk, listen, both, got 'sing'"),
        ("/a?volume=11", "unknown parameter volume: give /ROOM"),
    ],
)
def test_a_wrong_url_is_refused_by_name(path: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        parse_request(path)


# --- PCM in ---------------------------------------------------------------------------------------


def ramp(first: int, samples: int) -> bytes:
    return np.arange(first, first + samples, dtype="<i2").tobytes()


def drained(source: SocketSource) -> list[tuple[int, bool, int]]:
    """All that can be read now: position, whether after a pause, samples."""
    blocks = []
    while (block := source.read(0.0)) is not None:
        blocks.append((block.position, block.after_pause, len(block.pcm)))
    return blocks


def test_samples_are_read_as_they_were_sent_in_pieces_of_any_size() -> None:
    source = SocketSource(ManualClock(), RATE)
    data = ramp(0, 2 * FRAME + 7)
    for at in range(0, len(data), 333):  # odd: samples are cut
        source.push_bytes(data[at : at + 333])
    source.finish()
    blocks = []
    while not source.ended:
        block = source.read(1.0)
        assert block is not None
        blocks.append(block)
    assert [block.position for block in blocks] == [0, FRAME, 2 * FRAME]
    heard = np.concatenate([block.pcm[:, 0] for block in blocks]) * 32_768
    assert np.array_equal(heard, np.arange(2 * FRAME + 7))


def test_a_client_that_sends_too_fast_is_held_to_real_time_and_200_ms() -> None:
    clock = ManualClock()
    source = SocketSource(clock, RATE)
    read, ends = 0, 0
    for _ in range(500):  # 10 s
        source.push_bytes(ramp(0, 2 * FRAME))
        for position, _, samples in drained(source):
            read, ends = read + samples, position + samples
        clock.advance(20)
    assert 10.0 <= read / RATE < 10.0 * 1.001 + 0.26
    assert 10.0 <= ends / RATE < 10.0 * 1.001 + 0.26
    # half was too much, but for what may be ahead and what waits
    assert 9.3 < source.dropped_samples / RATE < 10.0


def test_of_what_waits_the_newest_400_ms_are_kept() -> None:
    source = SocketSource(ManualClock(), RATE)
    source.push_bytes(ramp(0, RATE))
    block = source.read(0.0)
    assert block is not None
    assert round(float(block.pcm[0, 0]) * 32_768) == RATE - RATE * 2 // 5
    assert source.dropped_samples == RATE - RATE * 2 // 5


def test_a_client_in_real_time_loses_nothing_and_waits_for_nothing() -> None:
    clock = ManualClock()
    source = SocketSource(clock, RATE)
    for n in range(12_000):  # four minutes
        if n % 8 == 7:  # the network gives in bursts
            for _ in range(8):
                source.push_bytes(ramp(0, FRAME))
            assert sum(samples for _, _, samples in drained(source)) == 8 * FRAME
        clock.advance(19.99)  # the client's clock is 500 ppm fast
    assert source.dropped_samples == 0


def test_samples_that_were_dropped_are_time_that_passed() -> None:
    clock = ManualClock()
    source = SocketSource(clock, RATE)
    source.push_bytes(ramp(0, FRAME))
    assert drained(source) == [(0, False, FRAME)]
    clock.advance(190)
    source.push_bytes(ramp(0, RATE))
    assert drained(source)[0] == (RATE * 190 // 1000, False, FRAME)


def test_a_pause_is_time_that_passed() -> None:
    clock = ManualClock()
    source = SocketSource(clock, RATE)
    source.push_bytes(ramp(0, FRAME))
    assert drained(source) == [(0, False, FRAME)]
    clock.advance(1_020)
    source.push_bytes(ramp(0, FRAME))
    assert drained(source) == [(FRAME + RATE, True, FRAME)]


# --- PCM out --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 48_000])
def test_frames_are_20_ms_at_any_rate_and_keep_real_time_after_a_stall(rate: int) -> None:
    clock, frames = ManualClock(), list[bytes]()
    sink = FrameSink(clock, FrameWriter(rate, frames.append), 30.0)
    begin_ns, written = clock.now_ns(), 0
    while clock.now_ns() < begin_ns + 5e9:
        if sink.wants_block(0.05):
            written += 1
            # as a resampler gives them: half a sample more or less
            sink.write(np.full((rate * written // 100 - rate * (written - 1) // 100, 1), 0.5))
        if written == 100:
            clock.advance(117)  # the machine was busy
    assert {len(frame) for frame in frames} == {2 * rate // 50}
    assert 250 <= len(frames) <= 253
    assert np.frombuffer(frames[0], "<i2")[0] == 16_384


async def test_a_queue_keeps_the_newest_400_ms_and_all_events() -> None:
    outbox = Outbox()
    for n in range(100):
        outbox.put(bytes([n]))
    outbox.connected(Welcome("s", "lobby", 1, (), 0, 0), 1)
    outbox.message(StreamEnd(3))
    assert json.loads(await outbox.take()) == {"type": "connected", "room": "lobby"}
    assert json.loads(await outbox.take()) == {"type": "talker_left", "stream": 3}
    assert [await outbox.take() for _ in range(20)] == [bytes([n]) for n in range(80, 100)]
