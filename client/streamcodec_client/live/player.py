"""One talker as the receiver hears it, and how several are mixed. Used by the receiver's worker
thread only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from streamcodec.errors import PayloadError
from streamcodec.live.comfort_noise import ComfortNoise
from streamcodec.live.network_quality import ArrivalStatistics, mean_opinion, transmission_rating
from streamcodec.live.playout import Arrival, Play, PlayoutBuffer
from streamcodec.live.sequence import Unwrapper
from streamcodec.units import NS, Pcm
from streamcodec.wire.packet import Flags, Packet, sequence_distance
from streamcodec.wire.redundancy import separate
from streamcodec.wire.session import Capture, StreamInfo

from ..audio.stretch import Stretcher
from ..clock import Clock, milliseconds
from ..report.statistics import StreamStatistics
from ..report.trace import Trace, Value
from .codec import Decoder

SOFT_CLIP_KNEE = 0.8
JUDGED = 500  # packets: ten seconds
SPLICE_MS = 2.5  # over which the end of one stretch fades into the beginning of the next
# What the decoder makes of nothing is worth hearing for a while, fading; from here to there the
# background takes its place.
CONTINUED_MS, BACKGROUND_MS = 60.0, 160.0
# a line of which nothing comes for so long should sound like it
DEAD_MS, DYING_MS = 3_000.0, 1_000.0


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
        relay_offset_ms: Callable[[], float | None] = lambda: None,
        overlap_samples: int = 0,
    ) -> None:
        """`stretcher`: for a playout buffer that asks for speeds other than one. `relay_offset_ms`:
        the relay's clock less ours. `overlap_samples`: by which the decoder's output lags.
        """
        self.stream, self.name, self.info = stream, name, info
        self._decoder, self._playout, self._clock, self._trace = decoder, playout, clock, trace
        self._stretcher = stretcher
        self._relay_offset_ms, self._overlap_samples = relay_offset_ms, overlap_samples
        self._arrivals = ArrivalStatistics()
        self._captures = Unwrapper()
        self._mark: Capture | None = None
        # offset in the block being made, capture time of what begins there
        self._begun: tuple[int, int] | None = None
        self._mouth_to_ear_ms: float | None = None
        self._substitutes: deque[bool] = deque(maxlen=JUDGED)
        self._comfort = ComfortNoise(info.sample_rate, info.channels)
        self._paused = False  # the talker said that nothing follows for now
        self._lost_ms = 0.0  # since the last packet that was there
        self._judged_ms = 0.0  # of it, in whole packets that count as substitutes already
        self._noise_share = 0.0  # how much of what is heard is background in place of what was lost
        self._rest = np.zeros((0, info.channels), np.float32)
        # of what was decoded; zero after silence
        self._last_sample = np.zeros(info.channels, np.float32)
        # offset in the block being made, line of the trace
        self._started: list[tuple[int, dict[str, Value]]] = []
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

    @property
    def muted(self) -> bool:
        """The talker said that nothing follows for now; a sender says it before it leaves."""
        return self._muted

    def receive(self, packet: Packet, received_ns: int, wire_bytes: int) -> None:
        """Raises MalformedPacket for copies that are none."""
        size = len(packet.payload)
        packet, copies = separate(packet, self.info.packet_samples)
        self._payload_bytes += size
        self._wire_bytes += wire_bytes
        self._note_arrival(packet, milliseconds(received_ns))
        arrival = self._playout.receive(
            packet.sequence,
            packet.capture_time,
            packet.payload,
            packet.flags,
            milliseconds(received_ns),
        )
        for copy in copies:
            self._playout.recover(copy, milliseconds(received_ns))
        if arrival is Arrival.LATE and self._trace is not None:
            # Its turn has a line already, concealed; this one says that it did come.
            self._trace.add(
                self._line(packet.sequence, received_ns, None, None, None, late=True)
                | {"played_ns": None}
            )

    def capture_clock(self, mark: Capture) -> None:
        """The talker says when a sample was captured."""
        self._mark = mark

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
        while have < samples and not self._playout.drained and 0 < self._lost_ms < BACKGROUND_MS:
            # the buffer has given up on what is late; the fade goes on
            parts.append(self._continued())
            have += len(parts[-1])
        # the talker pauses, or what is due is late: the background goes on
        if have < samples and not self._playout.drained:
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
        self._note_delay(heard_ns)
        for offset, line in self._started:
            line["played_ns"] = heard_ns + offset * NS // self.info.sample_rate
            if self._trace is not None:
                self._trace.add(line)
        self._started.clear()

    def statistics(self) -> StreamStatistics:
        playout = self._playout.statistics()
        judged = tuple(self._substitutes)  # another thread may be adding
        share = sum(judged) / len(judged) if judged else 0.0
        delay_ms = self._mouth_to_ear_ms
        return StreamStatistics(
            stream=self.stream,
            name=self.name,
            payload_bytes=self._payload_bytes,
            wire_bytes=self._wire_bytes,
            bad_payloads=self._bad_payloads,
            playout=playout,
            jitter_ms=self._arrivals.jitter_ms,
            drift_ppm=self._arrivals.drift_ppm,
            mouth_to_ear_ms=delay_ms,
            concealed_percent=100 * share,
            mos=None
            if delay_ms is None
            else mean_opinion(transmission_rating(max(0.0, delay_ms), share)),
        )

    def _note_arrival(self, packet: Packet, now_ms: float) -> None:
        if Flags.RESET in packet.flags:
            self._arrivals.restart()
            self._captures.restart()
        self._arrivals.arrived(
            self._captures.unwrap(packet.capture_time) * 1000 / self.info.sample_rate, now_ms
        )

    def _note_delay(self, heard_ns: int) -> None:
        offset_ms, mark, begun, self._begun = self._relay_offset_ms(), self._mark, self._begun, None
        if offset_ms is None or mark is None or begun is None:
            return
        offset, capture_time = begun
        per_sample_ms = 1000 / self.info.sample_rate
        captured_ms = (
            mark.relay_ms + sequence_distance(capture_time, mark.capture_time) * per_sample_ms
        )
        heard_ms = milliseconds(heard_ns) + (offset + self._overlap_samples) * per_sample_ms
        self._mouth_to_ear_ms = heard_ms + offset_ms - captured_ms

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
            self._begun = offset, event.capture_time
        else:
            received_ns, speed = None, 1.0
            pcm, concealed = self._decoder.decode(None), True
        pcm = self._with_background(pcm, concealed=concealed)
        if self._stretcher is not None:
            pcm = self._stretcher.play(pcm, speed)
        if self._trace is not None:
            line = self._line(
                event.sequence,
                received_ns,
                polled_ns,
                start_ns,
                self._clock.now_ns(),
                concealed=concealed,
            )
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
        if not concealed:
            self._comfort.learn(pcm, voice=Flags.VOICE in event.flags)
        if self._paused:  # it tells what the background is like; the noise that is like it goes on
            pcm = self._comfort.make(len(pcm))
        return self._spliced(pcm) if anew or self._paused != was_paused else pcm, concealed

    def _background(self, samples: int) -> Pcm:
        pcm = self._comfort.make(samples, among_speech=not self._paused)
        if not self._paused and self._substitutes:
            if self._noise_share < 1:
                pcm, self._noise_share = self._spliced(pcm), 1.0
            self._lost_ms = (
                max(self._lost_ms, BACKGROUND_MS) + samples * 1000 / self.info.sample_rate
            )
            self._note_loss()
            pcm = pcm * np.float32(min(1.0, max(0.0, 1 - (self._lost_ms - DEAD_MS) / DYING_MS)))
        self._last_sample = pcm[-1]
        return pcm

    def _continued(self) -> Pcm:
        pcm = self._with_background(self._decoder.decode(None), concealed=True)
        self._last_sample = pcm[-1]
        return pcm if self._stretcher is None else self._stretcher.play(pcm, 1.0)

    def _note_loss(self) -> None:
        """What lasts beyond the buffer's patience is loss as much as what it concealed, and a dead
        line has no delay.
        """
        packet_ms = self.info.packet_samples * 1000 / self.info.sample_rate
        while self._judged_ms + packet_ms <= self._lost_ms:
            self._judged_ms += packet_ms
            self._substitutes.append(True)
        if self._lost_ms > DEAD_MS:
            self._mouth_to_ear_ms = None

    def _with_background(self, pcm: Pcm, *, concealed: bool) -> Pcm:
        """A loss that lasts fades into the background, and what comes after it out of it."""
        packet_ms = self.info.packet_samples * 1000 / self.info.sample_rate
        if concealed:
            self._lost_ms += packet_ms
            self._note_loss()
        else:
            self._lost_ms = self._judged_ms = 0.0
            self._substitutes.append(False)
        before = self._noise_share
        after = self._noise_share = min(
            1.0, max(0.0, (self._lost_ms - CONTINUED_MS) / (BACKGROUND_MS - CONTINUED_MS))
        )
        if not before and not after:
            return pcm
        samples = (
            len(pcm)
            if concealed
            else min(len(pcm), round(SPLICE_MS * self.info.sample_rate / 1000))
        )
        share = np.full((len(pcm), 1), after, np.float32)
        share[:samples, 0] = np.linspace(before, after, samples, endpoint=False)
        return pcm * (1 - share) + self._comfort.make(len(pcm), among_speech=True) * share

    def _spliced(self, pcm: Pcm) -> Pcm:
        """No click where a stretch ends or the decoder begins anew: the last sample fades out over
        SPLICE_MS.
        """
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
    """The sum of [T, C] each. A voice alone passes as it is; several are bent where they would
    clip.
    """
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
