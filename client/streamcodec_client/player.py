"""One talker as the receiver hears it, and how several are mixed. Used by the receiver's worker thread only."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from streamcodec.comfort_noise import ComfortNoise
from streamcodec.errors import PayloadError
from streamcodec.packet import Flags, Packet
from streamcodec.playout import Arrival, Play, PlayoutBuffer, PlayoutStatistics
from streamcodec.session import StreamInfo

from .audio_io import Pcm
from .clock import Clock, milliseconds
from .paced_io import NS
from .ports import Decoder
from .stretch import Stretcher
from .trace import Trace, Value

SOFT_CLIP_KNEE = 0.8
SPLICE_MS = 2.5  # over which the end of one stretch fades into the beginning of the next


@dataclasses.dataclass(frozen=True, slots=True)
class StreamStatistics:
    """One talker's sums since it was first heard of."""

    stream: int
    name: str
    payload_bytes: int
    wire_bytes: int
    bad_payloads: int
    playout: PlayoutStatistics


class StreamPlayer:
    """Playout buffer, decoder and what is decoded and not yet played: less than a packet."""

    def __init__(
        self,
        stream: int,
        name: str,
        info: StreamInfo,
        decoder: Decoder,
        playout: PlayoutBuffer,
        clock: Clock,
        trace: Trace | None,
        stretcher: Stretcher | None = None,
    ) -> None:
        """`stretcher`: for a playout buffer that asks for speeds other than one."""
        self.stream, self.name, self.info = stream, name, info
        self._decoder, self._playout, self._clock, self._trace = decoder, playout, clock, trace
        self._stretcher = stretcher
        self._comfort = ComfortNoise(info.sample_rate, info.channels)
        self._paused = False  # the talker said that nothing follows for now: the background goes on
        self._rest = np.zeros((0, info.channels), np.float32)
        self._last_sample = np.zeros(info.channels, np.float32)  # of what was decoded; zero after silence
        self._started: list[tuple[int, dict[str, Value]]] = []  # offset in the block being made, line of the trace
        self._muted = False
        self._bad_payloads = self._payload_bytes = self._wire_bytes = 0

    @property
    def finished(self) -> bool:
        """The talker has left and all was played."""
        return self.silent and not self._muted

    @property
    def silent(self) -> bool:
        """The talker has left, or is muted, and all was played."""
        return self._playout.drained and not len(self._rest) and not self._last_sample.any()

    def receive(self, packet: Packet, received_ns: int, wire_bytes: int) -> None:
        self._payload_bytes += len(packet.payload)
        self._wire_bytes += wire_bytes
        arrival = self._playout.receive(
            packet.sequence, packet.capture_time, packet.payload, packet.flags, milliseconds(received_ns)
        )
        if arrival is Arrival.LATE and self._trace is not None:
            # Its turn has a line already, concealed; this one says that it did come.
            self._trace.add(self._line(packet.sequence, received_ns, None, None, None, late=True) | {"played_ns": None})

    def end(self) -> None:
        self._muted = self._paused = False
        self._playout.end()

    def resume(self) -> None:
        """Takes `end` back: the talker's connection broke, and its stream goes on over another."""
        if not self._muted:
            self._playout.resume()

    def mute(self, muted: bool) -> None:
        """A pause that was announced needs no concealment."""
        self._muted = muted
        if muted:
            self._paused = False
            self._playout.end()
        else:
            self._playout.resume()

    def pull(self, samples: int) -> Pcm | None:
        """The next [samples, C]; None while there is nothing to hear."""
        parts, have = [self._rest], len(self._rest)
        while have < samples:
            pcm = self._next_packet(have)
            if pcm is None:
                break
            parts.append(pcm)
            have += len(pcm)
        if have < samples and self._paused:
            parts.append(self._background(samples - have))
            have = samples
        pcm = np.concatenate(parts)
        self._rest = pcm[samples:]
        if not have and not self._last_sample.any():
            return None
        if have < samples:
            silence = np.zeros((samples - have, self.info.channels), np.float32)
            pcm = np.concatenate([pcm, self._spliced(silence)])
            self._last_sample = np.zeros(self.info.channels, np.float32)
        return pcm[:samples]

    def played(self, heard_ns: int) -> None:
        """The block that was pulled last is heard from `heard_ns` on."""
        for offset, line in self._started:
            line["played_ns"] = heard_ns + offset * NS // self.info.sample_rate
            if self._trace is not None:
                self._trace.add(line)
        self._started.clear()

    def statistics(self) -> StreamStatistics:
        return StreamStatistics(
            self.stream, self.name, self._payload_bytes, self._wire_bytes, self._bad_payloads, self._playout.statistics()
        )

    def _next_packet(self, offset: int) -> Pcm | None:
        """The packet whose turn it is, [T, C]; `offset` in the block is where it will be heard."""
        polled_ns = self._clock.now_ns()
        begins_ns = polled_ns + offset * NS // self.info.sample_rate
        event = self._playout.poll(milliseconds(begins_ns))
        if event is None:
            return None
        start_ns = self._clock.now_ns()
        if isinstance(event, Play):
            received_ns, speed = begins_ns - round(event.waited_ms * 1e6), event.speed
            pcm, concealed = self._decoded(event)
        else:
            received_ns, speed = None, 1.0
            pcm, concealed = self._decoder.decode(None), True
        if self._stretcher is not None:
            pcm = self._stretcher.play(pcm, speed)
        if self._trace is not None:
            line = self._line(event.sequence, received_ns, polled_ns, start_ns, self._clock.now_ns(), concealed=concealed)
            self._started.append((offset, line))
        if len(pcm):
            self._last_sample = pcm[-1]
        return pcm

    def _decoded(self, event: Play) -> tuple[Pcm, bool]:
        """-> PCM, whether it is a substitute."""
        anew = Flags.RESET in event.flags or not event.follows
        if anew:
            self._decoder.reset()
        was_paused, self._paused = self._paused, Flags.DTX in event.flags
        concealed = False
        if not event.payload:  # there is nothing to hear, not even a background
            pcm = np.zeros((self.info.packet_samples, self.info.channels), np.float32)
            self._comfort.reset()
        else:
            try:
                pcm = self._decoder.decode(event.payload)
            except PayloadError:
                self._bad_payloads += 1
                pcm, concealed = self._decoder.decode(None), True
        if Flags.VOICE not in event.flags:
            self._comfort.learn(pcm)
        if self._paused:  # it tells what the background is like; the noise that is like it goes on
            pcm = self._comfort.make(len(pcm))
        return self._spliced(pcm) if anew or self._paused != was_paused else pcm, concealed

    def _background(self, samples: int) -> Pcm:
        pcm = self._comfort.make(samples)
        self._last_sample = pcm[-1]
        return pcm

    def _spliced(self, pcm: Pcm) -> Pcm:
        """No click where a stretch ends or the decoder begins anew: the last sample fades out over SPLICE_MS."""
        samples = min(len(pcm), round(SPLICE_MS * self.info.sample_rate / 1000))
        fade = np.linspace(1, 0, samples, endpoint=False, dtype=np.float32)[:, None]
        return np.concatenate([pcm[:samples] + fade * self._last_sample, pcm[samples:]])

    def _line(
        self,
        sequence: int,
        received_ns: int | None,
        polled_ns: int | None,
        decode_start_ns: int | None,
        decoded_ns: int | None,
        *,
        concealed: bool = False,
        late: bool = False,
    ) -> dict[str, Value]:
        return {
            "sequence": sequence,
            "stream": self.stream,
            "received_ns": received_ns,
            "polled_ns": polled_ns,
            "decode_start_ns": decode_start_ns,
            "decoded_ns": decoded_ns,
            "concealed": concealed,
            "late": late,
        }


def mix(parts: Sequence[Pcm]) -> Pcm:
    """The sum of [T, C] each. A voice alone passes as it is; several are bent where they would clip."""
    if len(parts) == 1:
        return parts[0]
    return soft_clip(np.sum(parts, axis=0, dtype=np.float32))


def soft_clip(pcm: Pcm) -> Pcm:
    """Linear up to SOFT_CLIP_KNEE, then bent smoothly so that nothing exceeds full scale."""
    size = np.abs(pcm)
    room = np.float32(1 - SOFT_CLIP_KNEE)
    bent = SOFT_CLIP_KNEE + room * np.tanh((size - SOFT_CLIP_KNEE) / room)
    clipped: Pcm = np.where(size <= SOFT_CLIP_KNEE, pcm, np.sign(pcm) * bent).astype(np.float32)
    return clipped
