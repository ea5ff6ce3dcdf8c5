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
        self._step = config.step_samples
        self._channels = [band.splitter() for _ in range(config.channels)]

    def split(self, pcm: Pcm) -> tuple[Pcm, bytes]:
        """pcm [packet_samples, C] -> the core's [wire_packet_samples, C], and what describes the
        rest: HIGH_BAND_BYTES a step and channel, channels within steps.
        """
        core, told = [], []
        for step in _steps(pcm, self._step):
            parts = [s.split(channel) for s, channel in zip(self._channels, step, strict=True)]
            core.append([of_core for of_core, _ in parts])
            told += [described for _, described in parts]
        return _joined(core), b"".join(told)


class StreamJoiner:
    """Of a decoder. Packets go through it in order, lost ones, too."""

    def __init__(self, band: HighBand, config: CodecConfig) -> None:
        self._step = config.step_samples // config.widening
        self._channels = [band.joiner() for _ in range(config.channels)]
        self._places = range(0, HIGH_BAND_BYTES * config.channels, HIGH_BAND_BYTES)

    def join(self, core: Pcm, description: bytes | None, *, lost: bool) -> Pcm:
        """core [wire_packet_samples, C] as decoded -> pcm [packet_samples, C]. description: as
        `StreamSplitter.split` gave it; None where none came, or the packet was lost.
        """
        pcm = []
        for step in _steps(core, self._step):
            told: list[bytes | None] = [None] * len(step)
            if description is not None:
                told = [description[i : i + HIGH_BAND_BYTES] for i in self._places]
                description = description[HIGH_BAND_BYTES * len(step) :]
            parts = zip(self._channels, step, told, strict=True)
            pcm.append([joiner.join(channel, said, lost) for joiner, channel, said in parts])
        return _joined(pcm)


def _steps(pcm: Pcm, size: int) -> list[Pcm]:
    """[T, C] -> [C, size] of each step."""
    return [pcm[begin : begin + size].T for begin in range(0, len(pcm), size)]


def _joined(steps: list[list[Pcm]]) -> Pcm:
    """Of each step its channels [size] -> [T, C]."""
    if len(steps) == 1 == len(steps[0]):
        return steps[0][0][:, None]
    return np.concatenate([np.stack(channels, 1) for channels in steps])
