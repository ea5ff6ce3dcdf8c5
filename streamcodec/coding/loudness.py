"""How loud a talker is, slowly followed: what packets with the waveform layer are coded against, so
that a faint voice is coded as finely as a loud one, and soft sounds of either more coarsely.
"""

from __future__ import annotations

from typing import NamedTuple

from ..tables import GAIN_MIN, LOUDNESS_COUNT, LOUDNESS_STEP

USUAL = -16.0  # gain steps: -24 dB of full scale, where a stream begins
PEAK = 7.0  # gain steps by which loud syllables stand above the mean of speech
RISE = 0.25  # of the way to a packet that is louder
FALL, FIRST_FALL = 0.015, 0.4  # gain steps a packet that is softer, of speech and of its beginning
BEGINNING_PACKETS = 100
PAUSE = 24.0  # gain steps below the peak: what is softer is no speech
HOLD = 0.75  # of a step of what is named: until then the old one is


class Loudness(NamedTuple):
    """Of one channel: the mean gain of its speech, told by its peaks, which pauses do not change.

    named: in LOUDNESS_STEP gain steps above GAIN_MIN, as a packet names it.
    """

    peak: float = USUAL + PEAK
    heard: int = 0
    named: int = round((USUAL - GAIN_MIN) / LOUDNESS_STEP)

    def followed(self, gain_index: int) -> Loudness:
        """As it is after a packet of this gain index."""
        peak, beginning = self.peak, max(0.0, 1 - self.heard / BEGINNING_PACKETS)
        if gain_index > peak:
            peak += RISE * (gain_index - peak)
        elif gain_index > peak - PAUSE or (beginning and gain_index > GAIN_MIN):
            peak -= max(FALL, FIRST_FALL * beginning)
        else:
            return self
        named, wanted = self.named, (peak - PEAK - GAIN_MIN) / LOUDNESS_STEP
        if abs(wanted - named) > HOLD:
            named = min(LOUDNESS_COUNT - 1, max(0, round(wanted)))
        return Loudness(peak, self.heard + 1, named)
