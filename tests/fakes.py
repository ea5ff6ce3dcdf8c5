"""Fakes of what the live path depends on: a clock, a codec, a connection, a sound device. None
needs PyTorch or a network.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Sequence

import numpy as np

from streamcodec.config import CodecConfig
from streamcodec.errors import PayloadError
from streamcodec.units import Pcm
from streamcodec.wire.session import Message, StreamInfo
from streamcodec_client.audio.blocks import Block
from streamcodec_client.live.codec import Decoder, EncodingSettings, decode_one

SAMPLE_RATE = 16_000
SAMPLES_PER_MS = 16
STEP_SAMPLES = 320
MODEL_HASH = "0123456789abcdef"
PAYLOAD_MARK = b"F"
WAIT_S = 10.0  # how long a test waits for another thread before it gives up


class ManualClock:
    """A clock that advances when somebody sleeps, or when the test calls `advance`."""

    def __init__(self, now_ms: float = 1_000.0) -> None:
        self._now_ns = round(now_ms * 1e6)

    def now_ns(self) -> int:
        return self._now_ns

    def sleep(self, seconds: float) -> None:
        self._now_ns += round(seconds * 1e9)

    def advance(self, milliseconds: float) -> None:
        self._now_ns += round(milliseconds * 1e6)


class FakeEncoder:
    """A payload is the mean of each channel, in thousandths of full scale."""

    def __init__(self, channels: int = 1, packet_ms: int = 20) -> None:
        self.resets = 0
        self.copying, self.copies = False, list[bytes]()
        samples = packet_ms * SAMPLES_PER_MS
        self.config = CodecConfig(SAMPLE_RATE, STEP_SAMPLES, 80, samples, channels)
        self._size, self._waiting = samples, np.zeros((0, channels), np.float32)

    def encode(self, pcm: Pcm) -> list[bytes]:
        waiting = np.concatenate([self._waiting, pcm])
        whole = len(waiting) // self._size * self._size
        self._waiting = waiting[whole:]
        means = [waiting[i : i + self._size].mean(0) for i in range(0, whole, self._size)]
        self.copies = [fake_payload(*(mean / 2)) if self.copying else b"" for mean in means]
        return [fake_payload(*mean) for mean in means]

    def flush(self) -> list[bytes]:
        missing = -len(self._waiting) % self._size
        payloads = self.encode(np.zeros((missing, self._waiting.shape[1]), np.float32))
        self.reset()
        return payloads

    def drop_waiting(self) -> None:
        self._waiting = self._waiting[:0]

    def reset(self) -> None:
        self.resets += 1
        self.drop_waiting()


class FakeDecoder:
    """Plays a payload as a constant, and conceals a lost one as half of the last constant."""

    def __init__(self, channels: int = 1, packet_samples: int = STEP_SAMPLES) -> None:
        self.resets = 0
        self._samples = packet_samples
        self._last: Pcm = np.zeros(channels, np.float32)

    def decode(self, payload: bytes | None) -> Pcm:
        if payload is None:
            self._last = self._last / np.float32(2)
        else:
            if payload[:1] != PAYLOAD_MARK or len(payload) != 1 + 2 * len(self._last):
                raise PayloadError(f"not a fake payload: {payload!r}")
            values = np.frombuffer(payload[1:], ">i2")
            self._last = np.divide(values, 1000, dtype=np.float32)
        return np.repeat(self._last[None, :], self._samples, 0)

    def reset(self, *, begins: bool = True) -> None:
        self.resets += 1
        self._last = np.zeros_like(self._last)


def fake_payload(*levels: float) -> bytes:
    """What FakeDecoder plays as this level (full scale 1) in each channel."""
    return PAYLOAD_MARK + b"".join(
        round(float(level) * 1000).to_bytes(2, "big", signed=True) for level in levels
    )


class FakeModel:
    """A Codec of constants."""

    hash = MODEL_HASH
    sample_rate, widening, high_band, joint_stereo = SAMPLE_RATE, 1, "", ""
    packet_sizes = (STEP_SAMPLES, 2 * STEP_SAMPLES, 3 * STEP_SAMPLES)
    overlap_samples = 0
    slowest_step_ms = 2.0

    def __init__(self) -> None:
        self.encoders: list[FakeEncoder] = []
        self.decoders: list[FakeDecoder] = []
        self.steps: list[int] = []  # how many decoders shared each
        self.threads: set[str] = set()

    def encoder(self, settings: EncodingSettings) -> FakeEncoder:
        self.encoders.append(FakeEncoder(settings.channels, settings.packet_ms))
        return self.encoders[-1]

    def decoder(self, info: StreamInfo) -> FakeDecoder:
        self.decoders.append(FakeDecoder(info.channels, info.packet_samples))
        return self.decoders[-1]

    def decode(
        self, decoders: Sequence[Decoder], payloads: Sequence[bytes | None]
    ) -> list[Pcm | PayloadError]:
        self.steps.append(len(decoders))
        return [decode_one(d, payload) for d, payload in zip(decoders, payloads, strict=True)]

    def enter_thread(self) -> None:
        self.threads.add(threading.current_thread().name)


def fake_info(channels: int = 1, packet_ms: int = 20, model: str = MODEL_HASH) -> StreamInfo:
    return StreamInfo(model, SAMPLE_RATE, channels, packet_ms * SAMPLES_PER_MS, 0)


class MemoryTransport:
    """A connection that records what is sent."""

    tls = False

    def __init__(self, connection: int | None = 1) -> None:
        self.connection = connection
        self.datagrams: list[bytes] = []
        self.messages: list[Message] = []

    async def send(self, datagram: bytes) -> int:
        if self.connection is None:
            return 0
        self.datagrams.append(datagram)
        return len(datagram)

    async def send_message(self, message: Message) -> bool:
        if self.connection is not None:
            self.messages.append(message)
        return self.connection is not None


class ScriptedSource:
    """A source of the blocks that the test puts in; `end` ends it."""

    def __init__(
        self, blocks: Iterable[Block] = (), sample_rate: int = SAMPLE_RATE, channels: int = 1
    ) -> None:
        self.sample_rate, self.channels = sample_rate, channels
        self.ended = self.closed = self.started = False
        self._blocks: queue.SimpleQueue[Block | None] = queue.SimpleQueue()
        for block in blocks:
            self.put(block)

    def put(self, block: Block) -> None:
        self._blocks.put(block)

    def end(self) -> None:
        self._blocks.put(None)

    def start(self) -> None:
        self.started = True

    def read(self, timeout_s: float) -> Block | None:
        try:
            block = self._blocks.get(timeout=timeout_s)
        except queue.Empty:
            return None
        self.ended = block is None
        return block

    def close(self) -> None:
        self.closed = True


class SteppedSink:
    """Plays a block when the test calls `step`, which returns once the receiver has written it and
    done what follows. Each block advances the clock by 10 ms.
    """

    def __init__(
        self, clock: ManualClock, sample_rate: int = SAMPLE_RATE, channels: int = 1
    ) -> None:
        self.sample_rate, self.channels = sample_rate, channels
        self.underruns = 0
        self.closed = False
        self.written: list[Pcm] = []
        self._clock = clock
        self._pending = False  # a block was written and the worker has not come back since
        self._wanted, self._done = threading.Semaphore(0), threading.Semaphore(0)

    def start(self) -> None:
        """The clock stands still until the first step."""

    def wants_block(self, timeout_s: float) -> bool:
        # The worker comes back here when all that follows a write is done as well.
        if self._pending:
            self._pending = False
            self._done.release()
        return self._wanted.acquire(timeout=timeout_s)

    def write(self, pcm: Pcm) -> int:
        self.written.append(pcm)
        self._pending = True
        return self._clock.now_ns()

    def step(self, blocks: int = 1) -> Pcm:
        """Lets the receiver write this many blocks of 10 ms -> what it wrote, [T, C]."""
        for _ in range(blocks):
            self._wanted.release()
            if not self._done.acquire(timeout=WAIT_S):
                raise AssertionError("the receiver wrote nothing")
            self._clock.advance(10)
        return np.concatenate(self.written[-blocks:])

    def close(self) -> None:
        self.closed = True
