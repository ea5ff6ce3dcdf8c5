"""The high band of one stream: its packets split before the core encodes them, and joined after it
has decoded them.
"""

from __future__ import annotations

import numpy as np

from ..config import HIGH_BAND_BYTES, CodecConfig
from ..units import Pcm
from .high_band import HighBand


class StreamSplitter:
    """Of an encoder. Packets go through it in order, each once."""

    def __init__(self, band: HighBand, config: CodecConfig) -> None:
        self._band, self._config = band, config
        self.reset()

    def reset(self) -> None:
        self._states = [self._band.initial_splitter() for _ in range(self._config.channels)]

    def split(self, pcm: Pcm) -> tuple[Pcm, bytes]:
        """pcm [packet_samples, C] -> the core's [wire_packet_samples, C], and what describes the
        rest: HIGH_BAND_BYTES a step and channel, channels within steps.
        """
        step, core, told = self._config.step_samples, [], []
        for begin in range(0, len(pcm), step):
            parts = []
            for channel, state in enumerate(self._states):
                part, said, self._states[channel] = self._band.split(
                    pcm[begin : begin + step, channel], state
                )
                parts.append(part)
                told.append(said)
            core.append(np.stack(parts, 1))
        return np.concatenate(core), b"".join(told)


class StreamJoiner:
    """Of a decoder. Packets go through it in order, lost ones, too."""

    def __init__(self, band: HighBand, config: CodecConfig) -> None:
        self._band, self._config = band, config
        self.reset()

    def reset(self) -> None:
        self._states = [self._band.initial_joiner() for _ in range(self._config.channels)]

    def join(self, core: Pcm, description: bytes | None, *, lost: bool) -> Pcm:
        """core [wire_packet_samples, C] as decoded -> pcm [packet_samples, C]. description: as
        `StreamSplitter.split` gave it; None where none came, or the packet was lost.
        """
        steps, channels = self._config.steps, self._config.channels
        told = [
            None if description is None else description[i * HIGH_BAND_BYTES :][:HIGH_BAND_BYTES]
            for i in range(steps * channels)
        ]
        pcm = []
        for step, of_step in enumerate(np.split(core, steps)):
            parts = []
            for channel, state in enumerate(self._states):
                part, self._states[channel] = self._band.join(
                    of_step[:, channel], told[step * channels + channel], lost, state
                )
                parts.append(part)
            pcm.append(np.stack(parts, 1))
        return np.concatenate(pcm)
