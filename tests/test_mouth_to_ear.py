"""Both figures of the delay from mouth to ear must agree: the one that is heard (cross-correlation
of what was said and what was played, as `bench latency` measures it) and the one that a listener
reports (from the clocks of talker, relay and listener).
"""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from conftest import voice
from fakes import (
    STEP_SAMPLES,
    WAIT_S,
    FakeDecoder,
    FakeEncoder,
    FakeModel,
    ManualClock,
    MemoryTransport,
    ScriptedSource,
    SteppedSink,
)
from streamcodec.live.adaptive import DelayBounds
from streamcodec.units import Pcm
from streamcodec.wire.session import StreamInfo, StreamStart, Welcome
from streamcodec_bench.latency import end_to_end_latencies
from streamcodec_client.audio.blocks import Block
from streamcodec_client.live.codec import EncodingSettings
from streamcodec_client.live.receiver import Receiver
from streamcodec_client.live.sender import Sender

NETWORK_MS = 30
SECONDS = 4
OVERLAP = 160  # 10 ms
TALKER_MS, LISTENER_MS, RELAY_MS = 1_000.0, 77_000.0, 5_000.0  # what each clock shows at first
# Fixed delays agree to the sample. An adaptive one falls by up to 2 ms/s while it is measured, and
# the resampler that plays it lags by 1.2 ms.
FIXED_MS, ADAPTIVE_MS = 0.1, 4.0


class PcmEncoder(FakeEncoder):
    """Payloads are 8-bit samples."""

    def __init__(self) -> None:
        super().__init__()
        self.coded = b""

    def encode(self, pcm: Pcm) -> list[bytes]:
        self.coded += np.round(127 * pcm[:, 0]).astype(np.int8).tobytes()
        payloads = []
        while len(self.coded) >= STEP_SAMPLES:
            payloads.append(self.coded[:STEP_SAMPLES])
            self.coded = self.coded[STEP_SAMPLES:]
        self.copies = [b""] * len(payloads)
        return payloads


class PcmDecoder(FakeDecoder):
    """Gives what PcmEncoder was given, OVERLAP samples later."""

    def __init__(self) -> None:
        super().__init__()
        self.tail = np.zeros((OVERLAP, 1), np.float32)

    def decode(self, payload: bytes | None) -> Pcm:
        pcm: Pcm = np.zeros((STEP_SAMPLES, 1), np.float32)
        if payload is not None:
            pcm = np.divide(np.frombuffer(payload, np.int8)[:, None], 127, dtype=np.float32)
        pcm, self.tail = np.split(np.concatenate([self.tail, pcm]), [STEP_SAMPLES])
        return pcm


class PcmModel(FakeModel):
    """A codec that passes the sound, so that it can be found again in what is played."""

    overlap_samples = OVERLAP

    def encoder(self, settings: EncodingSettings) -> FakeEncoder:
        return PcmEncoder()

    def decoder(self, info: StreamInfo) -> FakeDecoder:
        return PcmDecoder()


async def call(
    said: Pcm, source_rate: int, sink_rate: int, playout: float | DelayBounds
) -> tuple[Pcm, float]:
    """A talker, a network of NETWORK_MS and a listener in simulated time -> what the sink played,
    and the delay that the listener reports in the end. Both begin at the same moment.
    """
    talker_clock, listener_clock = ManualClock(TALKER_MS), ManualClock(LISTENER_MS)
    source = ScriptedSource(sample_rate=source_rate)
    sink = SteppedSink(listener_clock, sample_rate=sink_rate)
    sender = Sender(PcmModel(), source, EncodingSettings(bitrate_bps=6_000), talker_clock)
    receiver = Receiver(PcmModel(), sink, listener_clock, playout=playout)
    receiver.relay_offset_ms = lambda: RELAY_MS - LISTENER_MS
    receiver.connected(Welcome("s", "lobby", None, (StreamStart(0, "t", sender.info),), 1, 0), 1)
    transport = MemoryTransport()
    sender.connected(Welcome("s", "lobby", 0, (), 1, 0), 1)
    running = [asyncio.ensure_future(sender.run(transport)), asyncio.ensure_future(receiver.run())]
    size = source_rate // 100
    on_the_way: list[tuple[int, bytes]] = []
    for number, start in enumerate(range(0, len(said), size)):
        talker_clock.advance(10)
        pcm = said[start : start + size, None]
        source.put(Block(pcm, start, talker_clock.now_ns()))
        if number % 2:
            async with asyncio.timeout(WAIT_S):
                while not transport.datagrams:
                    await asyncio.sleep(0.0005)
            on_the_way.append((number + NETWORK_MS // 10, transport.datagrams.pop()))
        if number % 100 == 50:
            mark = sender.capture_clock(RELAY_MS - TALKER_MS)
            assert mark is not None
            receiver.message(mark)
        await asyncio.to_thread(sink.step)
        while on_the_way and on_the_way[0][0] <= number:
            receiver.media(on_the_way.pop(0)[1], listener_clock.now_ns())
    (stream,) = receiver.statistics().streams
    assert stream.mouth_to_ear_ms is not None
    source.end()
    receiver.stop()
    await asyncio.gather(*running)
    return np.concatenate(sink.written)[:, 0], stream.mouth_to_ear_ms


@pytest.mark.parametrize(
    ("source_rate", "sink_rate", "playout", "tolerance_ms"),
    [
        (16_000, 16_000, 60.0, FIXED_MS),
        (48_000, 48_000, 60.0, FIXED_MS),
        (16_000, 16_000, DelayBounds(), ADAPTIVE_MS),
    ],
)
async def test_the_delay_that_is_reported_is_the_delay_that_is_heard(
    source_rate: int, sink_rate: int, playout: float | DelayBounds, tolerance_ms: float
) -> None:
    said = voice(SECONDS, source_rate)
    played, reported_ms = await call(said, source_rate, sink_rate, playout)
    heard_ms = end_to_end_latencies(said, played, source_rate, 0, 0)
    assert len(heard_ms) >= SECONDS - 2
    assert heard_ms[-1] == pytest.approx(reported_ms, abs=tolerance_ms)
