"""How recordings are compared: at which rate, and with how many channels. Without other imports,
because the command line needs it for its help.
"""

from __future__ import annotations

import dataclasses

SAMPLE_RATE = 16_000  # of the codec's core
FULL_BAND_RATE = 48_000
FULL_BAND_HZ = 20_000  # where full band ends (ITU-T G.719, RFC 6716)


@dataclasses.dataclass(frozen=True)
class Format:
    """sample_rate: in Hz, of what codecs are given and of what they give back. stereo: recordings
    of two channels keep them; otherwise all channels are averaged into one.
    """

    sample_rate: int = SAMPLE_RATE
    stereo: bool = False

    @property
    def full_band(self) -> bool:
        """Whether the band above the core's is compared."""
        return self.sample_rate >= FULL_BAND_RATE

    @property
    def least_recorded_rate(self) -> int:
        """Hz of a recording that can be a reference; 0: any."""
        return 2 * FULL_BAND_HZ if self.full_band else 0

    def __str__(self) -> str:
        return f"{self.sample_rate / 1000:g} kHz, {'stereo' if self.stereo else 'mono'}"


MONO = Format()
