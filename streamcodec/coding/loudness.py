"""How loud a talker is, slowly followed: what packets with the waveform layer are coded against, so
that a faint voice is coded as finely as a loud one, and soft sounds of either more coarsely.
"""

from __future__ import annotations

from ..tables import GAIN_MIN, LOUDNESS_COUNT, LOUDNESS_STEP

USUAL = -16.0  # gain steps: -24 dB of full scale, where a stream begins
TALKING = 10.0  # gain steps below the loudness, above which a packet counts as speech
LISTENED_PACKETS = 75  # of speech, that the mean reaches back over
SINKING = 0.02  # gain steps a packet that is too soft to be speech
HOLD = 0.75  # of a step of what is named: until then the old one is


class Loudness:
    """Of one channel: the mean gain of its speech."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._mean, self._heard = USUAL, 0
        self.index = _index(USUAL)

    def follow(self, gain_index: int) -> int:
        """gain_index of the next packet -> loudness in LOUDNESS_STEP gain steps above GAIN_MIN, as
        a packet names it.
        """
        if gain_index > self._mean - TALKING:
            self._heard = min(self._heard + 1, LISTENED_PACKETS)
            self._mean += (gain_index - self._mean) / (self._heard + 1)
        elif gain_index > GAIN_MIN:
            self._mean -= SINKING
        if abs(self._mean - GAIN_MIN - LOUDNESS_STEP * self.index) > HOLD * LOUDNESS_STEP:
            self.index = _index(self._mean)
        return self.index


def _index(gain: float) -> int:
    return min(LOUDNESS_COUNT - 1, max(0, round((gain - GAIN_MIN) / LOUDNESS_STEP)))
