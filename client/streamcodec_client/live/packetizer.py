"""Blocks of a source -> numbered packets with capture times. Used by the sender's worker thread."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from streamcodec.live.dtx import ANNOUNCEMENTS
from streamcodec.units import NS, Pcm
from streamcodec.wire.packet import SEQUENCE_MODULUS, Flags, Packet
from streamcodec.wire.session import StreamInfo

from ..audio.blocks import Block, with_channels
from ..audio.level import LevelMeter
from ..audio.resample import LiveResampler
from ..audio.voice_activity import VoiceActivity
from ..audio.voice_processing import VoiceProcessor
from ..clock import Clock
from .capture_time import CaptureTimeline
from .codec import Encoder
from .outgoing import Outgoing, PacketSequence
from .speech_gate import SpeechGate


class Packetizer:
    """Resamples and encodes what a source captured, and makes a packet of every payload.

    meter: of what was captured. muted: nothing is sent of it; may be set from any thread. tap: is
    given what is sent, before it is encoded: PCM at the codec's rate, and when it began, ns.
    """

    def __init__(
        self,
        encoder: Encoder,
        info: StreamInfo,
        source_rate: int,
        clock: Clock,
        activity: VoiceActivity | None = None,
        voice: VoiceProcessor | None = None,
    ) -> None:
        """`source_rate` in Hz. With `activity`, packets without speech are left out (DTX). `voice`
        processes what is sent, at the codec's rate.
        """
        self._encoder, self._info, self._clock = encoder, info, clock
        self._rate, self._packet_samples = encoder.config.sample_rate, encoder.config.packet_samples
        self._resampler = LiveResampler(source_rate, self._rate, info.channels)
        self._voice = voice
        self._delay_s = self._resampler.delay_s + (0.0 if voice is None else voice.delay_s)
        self._timeline = CaptureTimeline(source_rate, self._rate, self._delay_s)
        self._gate = None if activity is None else SpeechGate(activity, encoder.config)
        self._sequence = PacketSequence(info)
        self._connection: int | None = None
        self._packet_start = 0  # stream position of the packet that is being filled
        # at the source's rate
        self.unconnected_samples = self.invalid_samples = self.muted_samples = 0
        self.meter = LevelMeter(source_rate)
        self.muted = False
        self.tap: Callable[[Pcm, int], None] = lambda pcm, captured_ns: None
        self._tail = np.zeros((round(self._delay_s * source_rate), info.channels), np.float32)
        self.carry_copies(0)

    @property
    def lost_samples(self) -> int:
        """Samples that the source lost, at its rate."""
        return self._timeline.lost_samples

    @property
    def silent(self) -> int:
        """Packets that were left out because nobody spoke."""
        return 0 if self._gate is None else self._gate.left_out

    def carry_copies(self, distance: int) -> None:
        """How many packets back the copy lies that each packet carries from now on, at most what
        the stream's info announced; 0: none. May be called from any thread.
        """
        distance = min(distance, self._info.redundancy)
        self._sequence.carry_copies(distance)
        self._encoder.copying = distance > 0

    def push(self, block: Block, connection: int | None) -> list[Outgoing]:
        """A block of the source -> the packets that it completes.

        Without a connection, or while muted, the block is dropped. What follows begins with a
        fresh encoder: what was captured before, and what waited in the encoder, would be played
        too late.
        """
        if (skipped := self._timeline.skip_gap(block)) is not None:
            self._skip(skipped)
        captured, invalid = _finite(block.pcm)
        self.invalid_samples += invalid
        self.meter.add(captured)
        pcm = self._resampler.convert(with_channels(captured, self._info.channels))
        begin = self._timeline.add(len(pcm), block.captured_ns)
        if connection is None or self.muted:
            self._connection = None
            if connection is None:
                self.unconnected_samples += len(block.pcm)
            else:
                self.muted_samples += len(block.pcm)
            return []
        if connection != self._connection:
            self._connection, self._packet_start = connection, begin
            self._encoder.reset()
            if self._voice is not None:
                self._voice.drop_waiting()
            if self._gate is not None:
                self._gate.reset()
            self._sequence.mark(Flags.RESET | Flags.DISCONTINUITY if begin else Flags.RESET)
        start_ns = self._clock.now_ns()
        waiting = 0
        if self._voice is not None:
            pcm = self._voice.process(pcm)
            waiting = self._voice.waiting
        duration_ns = (len(pcm) + waiting) * NS // self._rate
        self.tap(pcm, block.captured_ns - duration_ns - round(self._delay_s * NS))
        if self._gate is not None:
            self._gate.hear(pcm)
        return self._chosen(self._encoded(self._encoder.encode(pcm), start_ns))

    def pause(self) -> list[Outgoing] | None:
        """The source has nothing to give for now -> empty packets that announce the pause. Without
        them listeners would conceal packets that are only late. None while the pause is shorter
        than these packets.

        What waits for its packet to be full is dropped: it would be heard now, long after the sound
        before it. So would the end of that sound, which the codec holds back until the next packet.
        """
        if self.muted:
            self._connection = None  # nothing is announced but that; and what follows begins anew
        if self._connection is None:
            return []
        start_ns, size = self._clock.now_ns(), self._packet_samples
        if self._timeline.idle(start_ns) < size * ANNOUNCEMENTS:
            return None
        self._encoder.drop_waiting()
        if self._voice is not None:
            self._voice.drop_waiting()
        self._encoder.encode(np.zeros((size, self._info.channels), np.float32))
        self._packet_start = self._timeline.end
        # These packets end now. With the capture time of the source's last block they would look
        # like a slow network, and raise every listener's playout delay.
        self._skip(self._timeline.fill_pause(size * ANNOUNCEMENTS, start_ns))
        if self._gate is not None:
            self._gate.reset()
        packets = [self._packet(b"", b"", start_ns) for _ in range(ANNOUNCEMENTS)]
        return [self._sequence.finish(packet, Flags.DTX) for packet in packets]

    def flush(self) -> list[Outgoing]:
        """The end of the source -> packets of what the resampler, the voice's processing and the
        encoder still hold.
        """
        if self._connection is None:
            return []
        start_ns = self._clock.now_ns()
        pcm = self._resampler.convert(self._tail)
        if self._voice is not None:
            pcm = self._voice.flush(pcm)
        packets = self._encoded(self._encoder.encode(pcm), start_ns)
        return self._chosen(packets + self._encoded(self._encoder.flush(), start_ns))

    def _skip(self, samples: int) -> None:
        """The packet that is being filled begins `samples` later; listeners are told of the gap."""
        self._packet_start += samples
        self._sequence.mark(Flags.DISCONTINUITY)

    def _encoded(self, payloads: list[bytes], start_ns: int) -> list[Outgoing]:
        """What the encoder has just given, as packets without number and flags."""
        pairs = zip(payloads, self._encoder.copies, strict=True)
        return [self._packet(payload, copy, start_ns) for payload, copy in pairs]

    def _packet(self, payload: bytes, copy: bytes, start_ns: int) -> Outgoing:
        """The next packet of the stream, without number and flags."""
        assert self._connection is not None
        encoded_ns = self._clock.now_ns()
        packet = Packet(
            flags=Flags(0),
            stream=0,  # filled in by the relay
            sequence=0,  # filled in when it is sent: a packet that is left out is no loss
            capture_time=self._packet_start // self._encoder.config.widening % SEQUENCE_MODULUS,
            payload=payload,
        )
        self._packet_start += self._packet_samples
        captured_ns = min(self._timeline.captured_ns(self._packet_start), start_ns)
        return Outgoing(packet, self._connection, captured_ns, start_ns, encoded_ns, copy)

    def _chosen(self, packets: list[Outgoing]) -> list[Outgoing]:
        """The packets that are sent, finished; all of them without DTX."""
        if self._gate is None:
            return [self._sequence.finish(packet) for packet in packets]
        chosen = [sent for packet in packets for sent in self._gate.choose(packet)]
        return [self._sequence.finish(packet, flags) for packet, flags in chosen]


def _finite(pcm: Pcm) -> tuple[Pcm, int]:
    """The samples [T, C] with 0 in place of NaN and infinity, and how many of the T had one: what a
    faulty driver delivers must not end a call.
    """
    finite = np.isfinite(pcm)
    if finite.all():
        return pcm, 0
    return np.where(finite, pcm, np.float32(0)), int(len(pcm) - finite.all(1).sum())
