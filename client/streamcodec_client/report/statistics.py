"""What a live session counts, in values that are handed from the session to whoever shows them."""

from __future__ import annotations

import dataclasses

from streamcodec.live.playout import PlayoutStatistics


@dataclasses.dataclass(frozen=True, slots=True)
class StreamStatistics:
    """One talker's sums since it was first heard of, and how the call is now.

    jitter_ms: of arrivals (RFC 3550). drift_ppm: how much slower the talker's clock runs than ours.
    mouth_to_ear_ms: from capture to the sink, by clocks that were compared over the relay.
    concealed_percent: of the last JUDGED packets. mos: what the E-model makes of delay and loss, 1
    to 4.41. None where it is not known yet.
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
class ReceiverStatistics:
    """Sums over all talkers since the beginning, and those who are heard now."""

    packets: int
    payload_bytes: int
    wire_bytes: int
    played: int
    lost: int
    late: int
    concealed: int
    skipped: int
    recovered: int  # of what was lost, played from copies
    bad_payloads: int
    malformed: int  # datagrams that are no packets
    overflow: int  # packets that a stuck sink made stale
    underruns: int  # of the sink
    buffer_ms: float  # the fullest of the talkers' buffers
    delay_ms: float  # the longest of their playout delays
    streams: tuple[StreamStatistics, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ListenerReport:
    """How a listener hears us, in its own words. None: it does not know yet."""

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
    lost_ms: float  # the source lost it, because we read too slowly
    invalid_samples: int  # not finite: replaced with silence
    captured_ms: float
    listeners: tuple[ListenerReport, ...]  # who has reported of late, worst first
