"""How a call with one talker is, as its listener can tell: jitter, clock drift, concealed packets,
delay from mouth to ear, and the rating that the E-model gives to these. Sans-I/O.
"""

from __future__ import annotations

import dataclasses
from collections import deque

from ..wire.packet import Flags, sequence_distance
from ..wire.session import Capture
from .loss_fade import DEAD_MS
from .network_quality import ArrivalStatistics, mean_opinion, transmission_rating
from .sequence import Unwrapper

# What a talker says of its clock may be anything: a delay beyond that is not known.
MOST_DELAY_MS = 60_000.0
JUDGED = 500  # packets that the concealed share is of: ten seconds of 20 ms


@dataclasses.dataclass(frozen=True, slots=True)
class CallRating:
    """What a listener can say of a call. None: not known yet.

    jitter_ms: interarrival jitter of RFC 3550. drift_ppm: how much slower the talker's clock runs
    than ours. mouth_to_ear_ms: from capture to the sink. concealed_percent: of the last JUDGED
    packets. mos: the E-model's mean opinion score, 1 to 4.41.
    """

    jitter_ms: float
    drift_ppm: float | None
    mouth_to_ear_ms: float | None
    concealed_percent: float
    mos: float | None


class CallQuality:
    """Judges one talker's stream. Tell it of every packet that `arrived`, every one that was
    `played`, and for how long packets have been `missing`; and, for the delay, where in a block a
    packet `begins` and when that block is `heard`.
    """

    def __init__(self, sample_rate: int, packet_samples: int, overlap_samples: int) -> None:
        """sample_rate in Hz. `overlap_samples`: how far the decoder's output lags the encoder's
        input.
        """
        self._per_sample_ms = 1000 / sample_rate
        self._packet_ms = packet_samples * 1000 / sample_rate
        self._overlap_samples = overlap_samples
        self._arrivals = ArrivalStatistics()
        self._captures = Unwrapper()
        self._judged: deque[bool] = deque()  # the last JUDGED packets; True: concealed
        self._concealed = 0  # of them, counted as they come: `rating` is asked for every block
        self._judged_loss_ms = 0.0  # of the present loss, already counted as concealed packets
        self._mark: Capture | None = None
        # offset in the block being made, capture time of the packet that begins there
        self._begun: tuple[int, int] | None = None
        self.mouth_to_ear_ms: float | None = None  # from capture to the sink; None: not known

    def arrived(self, capture_time: int, flags: Flags, now_ms: float) -> None:
        """A packet came, in time or late. `capture_time` in samples, as on the wire."""
        if Flags.RESET in flags:
            self._arrivals.restart()
            self._captures.restart()
        self._arrivals.arrived(self._captures.unwrap(capture_time) * self._per_sample_ms, now_ms)

    def capture_clock(self, mark: Capture) -> None:
        """The talker said at what time of the relay's clock a sample was captured."""
        self._mark = mark

    def played(self) -> None:
        """A packet was decoded and played; a loss before it is over."""
        self._judged_loss_ms = 0.0
        self._judge(concealed=False)

    def missing(self, lost_ms: float) -> None:
        """Packets have been missing for `lost_ms`. Every whole packet of it counts as concealed,
        also where the playout buffer has stopped asking; a dead line has no delay.
        """
        while self._judged_loss_ms + self._packet_ms <= lost_ms:
            self._judged_loss_ms += self._packet_ms
            self._judge(concealed=True)
        if lost_ms > DEAD_MS:
            self.mouth_to_ear_ms = None

    def begins(self, offset: int, capture_time: int) -> None:
        """A packet's first decoded sample is `offset` samples into the block being made."""
        self._begun = offset, capture_time

    def heard(self, heard_ms: float, relay_offset_ms: float | None) -> None:
        """The block is heard from `heard_ms` of our clock on; `relay_offset_ms`: the relay's clock
        less ours, None while unknown.
        """
        begun, self._begun = self._begun, None
        if begun is None or self._mark is None or relay_offset_ms is None:
            return
        offset, capture_time = begun
        since_mark = sequence_distance(capture_time, self._mark.capture_time)
        captured_ms = self._mark.relay_ms + since_mark * self._per_sample_ms
        # The sample that was captured then leaves the decoder `overlap_samples` later.
        heard_ms += (offset + self._overlap_samples) * self._per_sample_ms
        delay_ms = heard_ms + relay_offset_ms - captured_ms
        self.mouth_to_ear_ms = delay_ms if abs(delay_ms) <= MOST_DELAY_MS else None

    def rating(self) -> CallRating:
        share = self._concealed / len(self._judged) if self._judged else 0.0
        delay_ms = self.mouth_to_ear_ms
        mos = None
        if delay_ms is not None:
            mos = mean_opinion(transmission_rating(max(0.0, delay_ms), share))
        return CallRating(
            jitter_ms=self._arrivals.jitter_ms,
            drift_ppm=self._arrivals.drift_ppm,
            mouth_to_ear_ms=delay_ms,
            concealed_percent=100 * share,
            mos=mos,
        )

    def _judge(self, *, concealed: bool) -> None:
        if len(self._judged) == JUDGED:
            self._concealed -= self._judged.popleft()
        self._judged.append(concealed)
        self._concealed += concealed
