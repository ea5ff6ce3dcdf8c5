"""How loud a talker is, slowly followed: what packets with the waveform layer are coded against, so
that a faint voice is coded as finely as a loud one, and soft sounds of either more coarsely.
"""

from __future__ import annotations

from ..tables import GAIN_MIN, LOUDNESS_COUNT, LOUDNESS_STEP

USUAL = -16.0  # gain steps: -24 dB of full scale, where a stream begins
PEAK = 7.0  # gain steps by which loud syllables stand above the mean of speech
RISE = 0.25  # of the way to a packet that is louder
FALL, FIRST_FALL = 0.015, 0.4  # gain steps a packet that is softer, of speech and of its beginning
BEGINNING_PACKETS = 100
PAUSE = 24.0  # gain steps below the peak: what is softer is no speech
HOLD = 0.75  # of a step of what is named: until then the old one is


class Loudness:
    """Of one channel: the mean gain of its speech, told by its peaks, which pauses do not change."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._peak, self._heard = USUAL + PEAK, 0
        self.index = _index(USUAL)

    def follow(self, gain_index: int) -> int:
        """gain_index of the next packet -> loudness in LOUDNESS_STEP gain steps above GAIN_MIN, as
        a packet names it.
        """
        beginning = max(0.0, 1 - self._heard / BEGINNING_PACKETS)
        if gain_index > self._peak:
            self._peak += RISE * (gain_index - self._peak)
        elif gain_index > self._peak - PAUSE or (beginning and gain_index > GAIN_MIN):
            self._peak -= max(FALL, FIRST_FALL * beginning)
        else:
            return self.index
        self._heard += 1
        named = GAIN_MIN + LOUDNESS_STEP * self.index
        if abs(self._peak - PEAK - named) > HOLD * LOUDNESS_STEP:
            self.index = _index(self._peak - PEAK)
        return self.index


def _index(gain: float) -> int:
    return min(LOUDNESS_COUNT - 1, max(0, round((gain - GAIN_MIN) / LOUDNESS_STEP)))
