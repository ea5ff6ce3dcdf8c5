"""What is heard of a room, on its way from the decoder's thread to whoever reads it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from streamcodec.units import NS, Pcm

from ..audio.blocks import BLOCK_MS, block_samples, with_channels
from ..audio.resample import LiveResampler
from ..live.mix import mix
from ..live.receiver import HeardBlock
from ..live.talkers import MAX_TALKERS
from ..live.volumes import Volumes

LIMIT_FRAMES = 400 // BLOCK_MS  # of each talker; a reader further behind loses its oldest


@dataclasses.dataclass(frozen=True, slots=True)
class Talker:
    """Somebody who may speak. stream: the relay's number for it, which tells talkers of the same
    name apart; a relay that was started anew deals new ones. muted: it has announced that it sends
    nothing for now, which makes no other talker of it.
    """

    stream: int
    name: str
    muted: bool = dataclasses.field(default=False, compare=False)


EVERYBODY = Talker(-1, "everybody")  # of mixed frames


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """10 ms of one talker, or of EVERYBODY.

    pcm: float32 [T, channels], full scale 1. captured_at: when its first sample was captured, in
    seconds of this process's `time.monotonic()`; None until the clocks of talker, relay and
    listener have been compared, and of EVERYBODY. concealed: some of it did not come, or not in
    time, and is the codec's substitute. missed: samples of this talker that were dropped before it
    because frames were not read in time.
    """

    talker: Talker
    pcm: Pcm
    captured_at: float | None
    concealed: bool
    missed: int = 0


class FrameQueue:
    """Frames for one reader. Bounded by talker, so that one who is loud costs others nothing."""

    def __init__(self, dropped: Callable[[int], None] = lambda samples: None) -> None:
        """On the event loop that will read it. `dropped` is told of samples that were not read in
        time, by who puts.
        """
        self._dropped = dropped
        self._loop = asyncio.get_running_loop()
        self._some = asyncio.Event()
        self._lock = threading.Lock()
        self._order: deque[int] = deque()  # streams of the frames that wait, oldest first
        self._waiting: dict[int, deque[Frame]] = {}
        self._missed: dict[int, int] = {}
        self._closed = False

    def put(self, frame: Frame) -> None:
        """From any thread."""
        stream = frame.talker.stream
        with self._lock:
            if len(self._waiting.get(stream, ())) >= LIMIT_FRAMES:
                self._drop(stream)
            elif len(self._order) >= MAX_TALKERS * LIMIT_FRAMES:  # most of them have left
                self._drop(self._order[0])
            self._waiting.setdefault(stream, deque()).append(frame)
            self._order.append(stream)
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody reads any more
            self._loop.call_soon_threadsafe(self._some.set)

    def close(self) -> None:
        """What waits can still be taken. On the event loop."""
        self._closed = True
        self._some.set()

    async def take(self) -> Frame | None:
        """The oldest frame, when there is one; None after `close`, when all were taken."""
        while True:
            with self._lock:
                if self._order:
                    frame = self._oldest(self._order[0])
                    missed = self._missed.pop(frame.talker.stream, 0)
                    return dataclasses.replace(frame, missed=missed)
                if self._closed:
                    return None
                self._some.clear()
            await self._some.wait()

    def _oldest(self, stream: int) -> Frame:
        """Taken out."""
        self._order.remove(stream)
        frame = self._waiting[stream].popleft()
        if not self._waiting[stream]:
            del self._waiting[stream]
        return frame

    def _drop(self, stream: int) -> None:
        lost = len(self._oldest(stream).pcm)
        if stream in self._waiting:  # else nothing may follow that could tell of it
            self._missed[stream] = self._missed.get(stream, 0) + lost
        self._dropped(lost)


class Readers:
    """Who reads what is heard in a room. A queue lives as long as what reads it.

    dropped: samples that were not read in time, of all.
    """

    def __init__(self, maker: FrameMaker) -> None:
        self._maker = maker
        # Whether mixed, and where frames go; the decoder's thread reads this tuple.
        self._queues: tuple[tuple[bool, weakref.ref[FrameQueue]], ...] = ()
        self.dropped = 0

    def add(self, mixed: bool) -> FrameQueue:
        """For one more reader, of each talker's frames or of mixed ones."""
        queue = FrameQueue(self._on_dropped)
        alive = [(kind, known) for kind, known in self._queues if known() is not None]
        self._queues = (*alive, (mixed, weakref.ref(queue)))
        return queue

    def give(self, blocks: Sequence[HeardBlock], volumes: Volumes) -> None:
        """In the decoder's thread."""
        blocks = [_at_volume(b, volumes) for b in blocks if b.talker.stream not in volumes.muted]
        if queues := self._of(mixed=False):
            for block in blocks:
                _give(self._maker.frame(block), queues)
        if queues := self._of(mixed=True):
            _give(self._maker.mixed(blocks), queues)

    def close(self) -> None:
        """Nothing more comes. On the event loop."""
        for queue in (*self._of(mixed=False), *self._of(mixed=True)):
            queue.close()

    def _of(self, mixed: bool) -> list[FrameQueue]:
        queues = [known() for kind, known in self._queues if kind is mixed]
        return [queue for queue in queues if queue is not None]

    def _on_dropped(self, samples: int) -> None:
        """In the decoder's thread."""
        self.dropped += samples


class Frames:
    """An asynchronous iterator over what a FrameQueue gives."""

    def __init__(self, queue: FrameQueue, ended: Callable[[], None]) -> None:
        """`ended` is called at the end, and raises what ended it."""
        self._queue, self._ended = queue, ended

    def __aiter__(self) -> Frames:
        return self

    async def __anext__(self) -> Frame:
        """Waiting for it may be cancelled, and begun again."""
        frame = await self._queue.take()
        if frame is None:
            self._ended()
            raise StopAsyncIteration
        return frame


class FrameMaker:
    """HeardBlocks -> Frames of the rate and channels that were asked for. Used by the decoder's
    thread.
    """

    def __init__(self, codec_rate: int, sample_rate: int, channels: int) -> None:
        """Rates in Hz."""
        self._codec_rate, self._sample_rate, self._channels = codec_rate, sample_rate, channels
        self._mixed = LiveResampler(codec_rate, sample_rate, channels)
        self._resamplers: dict[int, LiveResampler] = {}  # by stream, the one used last at the end

    def frame(self, block: HeardBlock) -> Frame:
        stream = block.talker.stream
        resampler = self._resamplers.pop(stream, None)
        if resampler is None:
            resampler = LiveResampler(self._codec_rate, self._sample_rate, self._channels)
        self._resamplers[stream] = resampler
        if len(self._resamplers) > 2 * MAX_TALKERS:
            del self._resamplers[next(iter(self._resamplers))]
        pcm = resampler.convert(with_channels(block.pcm, self._channels))
        captured_at = None
        if block.captured_ns is not None:
            captured_at = block.captured_ns / NS - resampler.delay_s
        return Frame(
            Talker(stream, block.talker.name),
            np.ascontiguousarray(pcm, np.float32),
            captured_at,
            block.concealed,
        )

    def mixed(self, blocks: Sequence[HeardBlock]) -> Frame:
        """All talkers as one."""
        heard = [with_channels(block.pcm, self._channels) for block in blocks]
        silence = np.zeros((block_samples(self._codec_rate), self._channels), np.float32)
        pcm = self._mixed.convert(mix(heard) if heard else silence)
        concealed = any(block.concealed for block in blocks)
        return Frame(EVERYBODY, np.ascontiguousarray(pcm, np.float32), None, concealed)


def _at_volume(block: HeardBlock, volumes: Volumes) -> HeardBlock:
    gain = volumes.gain(block.talker.stream)
    return block if gain == 1 else dataclasses.replace(block, pcm=block.pcm * np.float32(gain))


def _give(frame: Frame, queues: Sequence[FrameQueue]) -> None:
    """Each reader may change what it gets."""
    queues[0].put(frame)
    for queue in queues[1:]:
        queue.put(dataclasses.replace(frame, pcm=frame.pcm.copy()))
