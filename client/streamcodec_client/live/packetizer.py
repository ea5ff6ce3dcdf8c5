"""Blocks of a source -> numbered, timed packets. Used by the sender's worker thread."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from streamcodec.live.dtx import ANNOUNCEMENTS, DtxGate
from streamcodec.units import NS, Pcm
from streamcodec.wire.packet import SEQUENCE_MODULUS, Flags, Packet
from streamcodec.wire.redundancy import CopyHistory
from streamcodec.wire.session import StreamInfo

from ..audio.blocks import Block, with_channels
from ..audio.resample import LiveResampler
from ..audio.voice_activity import VoiceActivity
from ..clock import Clock
from .codec import Encoder


@dataclasses.dataclass(frozen=True, slots=True)
class Outgoing:
    """A packet with the connection that it was encoded for and when (ns) the stages before it were
    passed.
    """

    packet: Packet
    connection: int
    captured_ns: int  # the last sample of the packet was captured
    encode_start_ns: int
    encoded_ns: int
    copy: bytes = b""  # its coarser payload, for later packets to carry


class Packetizer:
    """Blocks of a source in, numbered packets out. Used by one thread."""

    def __init__(
        self,
        encoder: Encoder,
        info: StreamInfo,
        source_rate: int,
        source_channels: int,
        clock: Clock,
        activity: VoiceActivity | None = None,
    ) -> None:
        """With `activity`, packets in which nobody speaks are left out (DTX)."""
        self._encoder, self._info, self._clock, self._activity = encoder, info, clock, activity
        self._gate: DtxGate[Outgoing] = DtxGate(info.packet_samples * 1000 / info.sample_rate)
        self._history = CopyHistory(info.redundancy, info.packet_samples)
        self.want_copies(0)
        # what the encoder has and has made no packet of
        self._unjudged = np.zeros((0, info.channels), np.float32)
        self.silent = 0  # packets left out
        self._source_rate = source_rate
        self._channels = info.channels
        self._resampler = LiveResampler(source_rate, info.sample_rate, self._channels)
        self._connection: int | None = None
        self._flags = Flags(0)  # of the next packet
        self._sequence = 0
        self._expected = 0  # position of the next block if nothing is lost
        self._captured = 0  # samples at the stream's rate since the start, lost ones included
        self._filled = 0  # of them, those of a pause that no block has told of yet
        self._packet_start = 0  # capture time of the packet that is being filled
        self._captured_ns = 0
        # at the source's rate
        self.lost_samples = self.unconnected_samples = self.invalid_samples = 0

    def want_copies(self, copies: int) -> None:
        """Packets carry so many from now on, as far as the stream's info announced them. May be
        called from any thread.
        """
        self._history.wanted = copies
        self._encoder.copying = copies > 0 and self._info.redundancy > 0

    def push(self, block: Block, connection: int | None) -> list[Outgoing]:
        """Without a connection the block is dropped. A new connection begins with a fresh encoder:
        what was said in between, and what waited in the encoder, is stale.
        """
        self._note_gap(block)
        resampled = self._resampler.convert(with_channels(self._finite(block.pcm), self._channels))
        self._captured_ns = block.captured_ns
        began, self._captured = self._captured, self._captured + len(resampled)
        if connection is None:
            self._connection = None
            self.unconnected_samples += len(block.pcm)
            return []
        if connection != self._connection:
            self._encoder.reset()
            self._gate.reset()
            self._unjudged = self._unjudged[:0]
            self._flags |= Flags.RESET
            if began:
                self._flags |= Flags.DISCONTINUITY
            self._connection, self._packet_start = connection, began
        start_ns = self._clock.now_ns()
        if self._activity is not None:
            self._unjudged = np.concatenate([self._unjudged, resampled])
        return self._worth_sending(self._packets(self._encoder.encode(resampled), start_ns))

    def pause(self) -> list[Outgoing]:
        """The source has nothing to give for now. The packet that waits is filled up with silence,
        and those behind it say that nothing follows, not even a background; otherwise listeners
        would conceal what is only late.
        """
        if self._connection is None:
            return []
        start_ns, size = self._clock.now_ns(), self._info.packet_samples
        said = size * (1 + ANNOUNCEMENTS)
        # They are of now: as old as the source's last word they would look like a slow network, and
        # raise everybody's delay.
        idle = (start_ns - self._time_of(self._captured)) * self._info.sample_rate // NS - said
        self._pass_over(max(0, idle))
        self._filled = max(0, idle) + said
        self._captured, self._captured_ns = self._captured + said, start_ns
        # as much as before waits in the encoder, and it is silence
        self._unjudged = np.zeros_like(self._unjudged)
        self._gate.reset()
        last = self._encoder.encode(np.zeros((size, self._channels), np.float32))
        packets = self._packets([*last, *[b""] * ANNOUNCEMENTS], start_ns)
        flags = [Flags(0), *[Flags.DTX] * ANNOUNCEMENTS]
        return [self._numbered(packet, flag) for packet, flag in zip(packets, flags, strict=True)]

    def flush(self) -> list[Outgoing]:
        """The end of the source: what the resampler and the encoder still hold."""
        if self._connection is None:
            return []
        start_ns = self._clock.now_ns()
        tail = np.zeros(
            (round(self._resampler.delay_s * self._source_rate), self._channels), np.float32
        )
        packets = self._packets(self._encoder.encode(self._resampler.convert(tail)), start_ns)
        return self._worth_sending(packets + self._packets(self._encoder.flush(), start_ns))

    def _packets(self, payloads: list[bytes], start_ns: int) -> list[Outgoing]:
        """What the encoder has just given, without numbers."""
        assert self._connection is not None
        encoded_ns = self._clock.now_ns()
        packets = []
        for payload, copy in itertools.zip_longest(payloads, self._encoder.copies, fillvalue=b""):
            packet = Packet(
                flags=Flags(0),
                stream=0,  # the relay says which
                sequence=0,  # numbered when it is sent: a pause is no loss
                capture_time=self._packet_start % SEQUENCE_MODULUS,
                payload=payload,
            )
            self._packet_start += self._info.packet_samples
            captured_ns = min(self._time_of(self._packet_start), start_ns)
            packets.append(
                Outgoing(packet, self._connection, captured_ns, start_ns, encoded_ns, copy)
            )
        return packets

    def _worth_sending(self, packets: list[Outgoing]) -> list[Outgoing]:
        if self._activity is None:
            return [self._numbered(packet, Flags(0)) for packet in packets]
        outgoing = []
        for packet in packets:
            heard, self._unjudged = np.split(self._unjudged, [self._info.packet_samples])
            sent = self._gate.push(packet, self._activity.active(heard))
            self.silent += 1 - len(sent)
            outgoing += [self._numbered(o, flags) for o, flags in sent]
        return outgoing

    def _numbered(self, outgoing: Outgoing, flags: Flags) -> Outgoing:
        flags, self._flags = flags | self._flags, Flags(0)
        packet = dataclasses.replace(
            outgoing.packet, flags=flags, sequence=self._sequence % SEQUENCE_MODULUS
        )
        self._sequence += 1
        return dataclasses.replace(outgoing, packet=self._history.add(packet, outgoing.copy))

    def _time_of(self, position: int) -> int:
        """When the sound at this position of the stream was captured; the resampler's output is
        that much older than its input.
        """
        ahead = self._captured - position
        return (
            self._captured_ns
            - ahead * NS // self._info.sample_rate
            - round(self._resampler.delay_s * NS)
        )

    def _note_gap(self, block: Block) -> None:
        lost = block.position - self._expected
        self._expected = block.position + len(block.pcm)
        filled, self._filled = self._filled, 0
        if lost <= 0:
            return
        if not block.after_pause:
            self.lost_samples += lost
        self._pass_over(max(0, lost * self._info.sample_rate // self._source_rate - filled))

    def _pass_over(self, samples: int) -> None:
        """So many that there are not, at the stream's rate."""
        self._captured += samples
        self._packet_start += samples
        self._flags |= Flags.DISCONTINUITY

    def _finite(self, pcm: Pcm) -> Pcm:
        """A driver's hiccup must not end a call."""
        finite = np.isfinite(pcm)
        if finite.all():
            return pcm
        self.invalid_samples += int(len(pcm) - finite.all(1).sum())
        return np.where(finite, pcm, np.float32(0))
