"""The sender's thread: reads the source, encodes it, and hands packets to the event loop."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

import numpy as np

from streamcodec.units import NS

from ..audio.blocks import Block, Source
from ..clock import Clock
from ..report.trace import Trace
from .codec import Codec, Encoder
from .outgoing import Outgoing
from .packetizer import Packetizer

READ_TIMEOUT_S = 0.1
PAUSE_S = 0.2
WARM_UP_PACKETS = 3  # the first inference of a thread takes ten times as long as the rest


class EncodingWorker:
    """Encodes one source, from the first connection to a relay until the source ends or `stop`."""

    def __init__(
        self,
        codec: Codec,
        encoder: Encoder,
        source: Source,
        packetizer: Packetizer,
        clock: Clock,
        trace: Trace,
        duration_s: float | None,
        pause_s: float = PAUSE_S,
    ) -> None:
        """`duration_s`: how much of the source is encoded; None: all of it. `pause_s`: a source
        that gives nothing for so long is not late: it pauses.
        """
        self._pause_ns, self._read_timeout_s = pause_s * NS, min(READ_TIMEOUT_S, pause_s / 2)
        self._codec, self._encoder, self._source = codec, encoder, source
        self._packetizer, self._clock, self._trace = packetizer, clock, trace
        self._limit = None if duration_s is None else round(duration_s * source.sample_rate)
        self._position = 0  # samples of the source that were taken, lost ones included
        self._connected = threading.Event()  # at least once
        self._stopping = threading.Event()
        self.finished = False  # the source has ended, or as much was taken as was wanted

    @property
    def captured_ms(self) -> float:
        """How much of the source was taken so far."""
        return self._position / (self._source.sample_rate / 1000)

    def start_capture(self) -> None:
        """There is a connection to a relay. From any thread, any number of times."""
        self._connected.set()

    def stop(self) -> None:
        """Ends the source. From any thread."""
        self._stopping.set()

    def run(self, connection: Callable[[], int | None], post: Callable[[Outgoing], None]) -> None:
        """In a thread of its own: hands every packet to `post`, and closes the source at the end.

        `connection`: the number of the connection that packets are encoded for; None while there is
        none. Raises AudioError when the source fails.
        """
        try:
            self._warm_up()
            # A file must not begin while nobody can hear it.
            while not self._connected.wait(READ_TIMEOUT_S):
                if self._stopping.is_set():
                    return
            self._source.start()
            read_ns, paused = self._clock.now_ns(), False
            while not self._stopping.is_set() and not self._source.ended and self._wanted != 0:
                packets: list[Outgoing] = []
                block = self._source.read(self._read_timeout_s)
                if block is not None:
                    packets = self._encode(block, connection())
                    read_ns, paused = self._clock.now_ns(), False
                elif not paused and self._clock.now_ns() - read_ns > self._pause_ns:
                    announced = self._packetizer.pause()
                    packets, paused = announced or [], announced is not None
                for packet in packets:
                    post(packet)
            for packet in self._packetizer.flush():
                post(packet)
            self.finished = not self._stopping.is_set()
        finally:
            self._source.close()

    def _warm_up(self) -> None:
        """Encodes silence. The first connection resets the encoder, so nothing of it is sent."""
        self._codec.enter_thread()
        config = self._encoder.config
        silence = np.zeros((WARM_UP_PACKETS * config.packet_samples, config.channels), np.float32)
        self._encoder.encode(silence)

    @property
    def _wanted(self) -> int | None:
        """Samples still to be encoded; None without a limit."""
        return None if self._limit is None else max(0, self._limit - self._position)

    def _encode(self, block: Block, connection: int | None) -> list[Outgoing]:
        if not self._position:
            samples_ns = len(block.pcm) * NS // self._source.sample_rate
            self._trace.add({"source_start_ns": block.captured_ns - samples_ns})
        wanted = self._wanted
        if wanted is not None and wanted < len(block.pcm):
            surplus_ns = (len(block.pcm) - wanted) * NS // self._source.sample_rate
            block = dataclasses.replace(
                block, pcm=block.pcm[:wanted], captured_ns=block.captured_ns - surplus_ns
            )
        self._position = block.position + len(block.pcm)
        return self._packetizer.push(block, connection)
