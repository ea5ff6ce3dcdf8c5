"""Time scaling of decoded packets: pitch periods are cut out or repeated, so that pitch and timbre
stay. Adds no delay.

Source: waveform similarity overlap-add (Verhelst & Roelands 1993) in the form that jitter buffers
use, within one packet at a time. A packet is cut or lengthened by one whole period or not at all,
so a speed is met on average over several packets.
"""

from __future__ import annotations

import numpy as np

from ..units import Pcm

# of pitch periods; a packet of 20 ms must hold the longest period and the cross-fade
SHORTEST_S, LONGEST_S = 0.0025, 0.010
FADE_S = 0.005
ALIKE = 0.5  # normalised correlation from which a splice is not heard
QUIET = 1e-4  # mean power below which a splice may be anywhere: -40 dBFS
LARGEST_DEBT_S = 0.030  # from here on a sound is spliced although it is not periodic


class TimeScaler:
    """Scales the packets of one stream; `reset` where the sound is interrupted."""

    def __init__(self, sample_rate: int) -> None:
        self._shortest = round(SHORTEST_S * sample_rate)
        self._longest = round(LONGEST_S * sample_rate)
        self._largest_debt = round(LARGEST_DEBT_S * sample_rate)
        length = round(FADE_S * sample_rate)
        fade = 0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / length)
        self._fade = fade[:, None].astype(np.float32)
        self.reset()

    def reset(self) -> None:
        self._debt = 0.0  # samples that are still to be cut out; below 0: to be inserted

    def scale(self, pcm: Pcm, speed: float) -> Pcm:
        """pcm [T, C] -> [T', C]. speed, above 0: 1.1 makes T' ten percent less than T on average
        over several packets; at 1 pcm is returned as it is, and what was still to be cut or
        inserted is forgotten.
        """
        if speed == 1:
            self.reset()
            return pcm
        owed = self._debt + len(pcm) * (1 - 1 / speed)
        if (owed > 0) != (speed > 1):
            owed = len(pcm) * (1 - 1 / speed)
        self._debt = owed
        longest = min(self._longest, len(pcm) - len(self._fade))
        if abs(owed) < self._shortest or longest < self._shortest:
            return pcm
        period, alike = self._period(pcm, longest)
        if float(np.square(pcm).mean()) < QUIET:
            period = min(longest, int(abs(owed)))
        elif alike < ALIKE:
            if abs(owed) < self._largest_debt:
                return pcm
            period = longest
        if period > abs(owed):
            return pcm
        fade, length = self._fade, len(self._fade)
        if owed > 0:
            spliced = pcm[:length] * (1 - fade) + pcm[period : period + length] * fade
            out = np.concatenate([spliced, pcm[period + length :]])
        else:
            spliced = pcm[period : period + length] * (1 - fade) + pcm[:length] * fade
            out = np.concatenate([pcm[:period], spliced, pcm[length:]])
        self._debt -= len(pcm) - len(out)
        return out.astype(np.float32)

    def _period(self, pcm: Pcm, longest: int) -> tuple[int, float]:
        """pcm [T, C] -> the shift of at most `longest` samples at which the beginning of the packet
        resembles itself most, and the normalised correlation there, of all channels, -1..1.
        """
        length = len(self._fade)
        windows = np.lib.stride_tricks.sliding_window_view(pcm[: longest + length], length, axis=0)
        energy = np.square(windows).sum((1, 2)) + 1e-9
        products = np.einsum("tcn,nc->t", windows[self._shortest :], pcm[:length])
        alike = products / np.sqrt(energy[self._shortest :] * energy[0])
        best = int(alike.argmax())
        return best + self._shortest, float(alike[best])
