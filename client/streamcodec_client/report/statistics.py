"""What a live session counts, in values that are handed from the session to whoever shows them."""

from __future__ import annotations

import dataclasses

from streamcodec.live.playout import PlayoutStatistics


@dataclasses.dataclass(frozen=True, slots=True)
class StreamStatistics:
    """One talker: sums since it was first heard of, and how the call is now.

    jitter_ms: interarrival jitter (RFC 3550). drift_ppm: how much slower the talker's clock runs
    than ours. mouth_to_ear_ms: from capture to the sink, by two clocks that are compared over the
    relay. concealed_percent: of the last call_quality.JUDGED packets. mos: the E-model's mean
    opinion score for that delay and loss, 1 to 4.41. None: not known yet.
    """

    stream: int
    name: str
    payload_bytes: int
    wire_bytes: int
    bad_payloads: int
    playout: PlayoutStatistics
    jitter_ms: float
    drift_ppm: float | None
    mouth_to_ear_ms: float | None
    concealed_percent: float
    mos: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class StreamTotals:
    """Sums over streams."""

    packets: int = 0
    payload_bytes: int = 0
    wire_bytes: int = 0
    played: int = 0
    lost: int = 0
    late: int = 0
    concealed: int = 0
    skipped: int = 0
    recovered: int = 0  # of the lost packets, played from a copy that a later packet carried
    bad_payloads: int = 0

    def plus(self, stream: StreamStatistics) -> StreamTotals:
        playout = stream.playout
        return StreamTotals(
            self.packets + playout.received,
            self.payload_bytes + stream.payload_bytes,
            self.wire_bytes + stream.wire_bytes,
            self.played + playout.played,
            self.lost + playout.lost,
            self.late + playout.late,
            self.concealed + playout.concealed,
            self.skipped + playout.skipped,
            self.recovered + playout.recovered,
            self.bad_payloads + stream.bad_payloads,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class ReceiverStatistics(StreamTotals):
    """Sums over all talkers since the beginning, and those who are heard now."""

    malformed: int = 0  # datagrams that are malformed packets
    overflow: int = 0  # packets dropped because the receiver's thread was stuck for too long
    underruns: int = 0  # of the sink
    buffer_ms: float = 0.0  # the fullest of the talkers' buffers
    delay_ms: float = 0.0  # the longest of their playout delays
    streams: tuple[StreamStatistics, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class ListenerReport:
    """How a listener hears us, as it reported. None: it does not know yet."""

    name: str
    concealed_percent: float | None
    mouth_to_ear_ms: float | None
    mos: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class SenderStatistics:
    """Sums since the beginning."""

    packets: int
    payload_bytes: int
    wire_bytes: int
    dropped: int  # encoded and not sent: the link was too slow, or broke
    silent: int  # encoded and not sent: nobody spoke
    unconnected_ms: float  # captured while there was no relay to send it to
    muted_ms: float  # captured while muted
    lost_ms: float  # the source lost it, because we read too slowly
    invalid_samples: int  # not finite: replaced with silence
    captured_ms: float
    copy_distance: int  # how many packets back the copies lie that are sent now; 0: none are
    listeners: tuple[ListenerReport, ...]  # who reported lately, worst first
