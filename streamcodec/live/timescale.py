"""Time-scale modification of decoded packets: pitch periods are cut out or repeated, pitch and
timbre stay. Adds no delay.

Source: waveform similarity overlap-add (Verhelst & Roelands 1993) in the form that jitter buffers
use, within one packet at a time: what a packet gives up or gains is whole periods, so a speed is
met over several packets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..units import Pcm

# periods; a packet of 20 ms must hold the longest and the fade
SHORTEST_S, LONGEST_S = 0.0025, 0.010
FADE_S = 0.005
ALIKE = 0.5  # normalised correlation at which a splice is not heard
QUIET = 1e-4  # mean power below which any splice will do: -40 dBFS
LARGEST_DEBT_S = 0.030  # a sound that resembles itself nowhere is cut anyway


class TimeScaler:
    """Packets in, packets of another length out. One stream's state; `reset` where the sound is
    interrupted.
    """

    def __init__(self, sample_rate: int) -> None:
        self._shortest, self._longest = (
            round(SHORTEST_S * sample_rate),
            round(LONGEST_S * sample_rate),
        )
        self._largest_debt = round(LARGEST_DEBT_S * sample_rate)
        self._fade = (
            0.5
            - 0.5
            * np.cos(
                np.pi * (np.arange(round(FADE_S * sample_rate)) + 0.5) / round(FADE_S * sample_rate)
            )
        )[:, None].astype(np.float32)
        self.reset()

    def reset(self) -> None:
        self._debt = 0.0

    def scale(self, pcm: Pcm, speed: float) -> Pcm:
        """pcm [T, C], speed above 0: 1.1 is ten percent faster -> [T', C]. At 1 what is owed is
        forgotten and pcm passes.
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
        period, alike = self._period(pcm.mean(1), longest)
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

    def _period(self, mono: NDArray[np.float32], longest: int) -> tuple[int, float]:
        """The shift up to `longest` by which the beginning of the packet resembles itself most, and
        how much, -1..1.
        """
        length = len(self._fade)
        windows = np.lib.stride_tricks.sliding_window_view(mono[: longest + length], length)
        energy = np.square(windows).sum(1) + 1e-9
        alike = (
            windows[self._shortest :]
            @ mono[:length]
            / np.sqrt(energy[self._shortest :] * energy[0])
        )
        best = int(alike.argmax())
        return best + self._shortest, float(alike[best])
