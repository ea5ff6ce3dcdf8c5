"""The high band of one stream: its packets split before the core encodes them, and joined after it
has decoded them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from ..config import HIGH_BAND_BYTES, CodecConfig
from ..errors import PayloadError
from ..tables import HIGH_BAND_REFINED
from ..units import Pcm
from .high_band import HighBand


class StreamSplitter:
    """Of an encoder. Packets go through it in order, each once."""

    def __init__(self, band: HighBand, config: CodecConfig) -> None:
        self._step, self._joint = config.step_samples, config.joint
        self._describes = config.high_band
        self._channels = [band.splitter() for _ in range(config.channels)]

    def split(self, pcm: Pcm) -> tuple[Pcm, bytes]:
        """pcm [packet_samples, C] -> the core's [wire_packet_samples, C], and what describes the
        rest, channels within steps; nothing where the config has no high band.
        """
        core: list[list[Pcm]] = []
        described = b""
        for step in _steps(pcm, self._step):
            core.append([])
            first: bytes | None = None
            for splitter, channel in zip(self._channels, step, strict=True):
                if self._describes:
                    of_core, told = splitter.split(channel, first)
                    first = told if self._joint else None
                    described += told
                else:
                    of_core = splitter.lower(channel)
                core[-1].append(of_core)
        return _joined(core), described


class StreamJoiner:
    """Of a decoder. Packets go through it in order, lost ones, too."""

    def __init__(self, band: HighBand, config: CodecConfig) -> None:
        self._step = config.step_samples // config.widening
        self._channels = [band.joiner() for _ in range(config.channels)]
        self._joint = config.joint

    def join(self, core: Pcm, described: Sequence[bytes] | None, *, lost: bool) -> Pcm:
        """core [wire_packet_samples, C] as decoded -> pcm [packet_samples, C]. described: as
        `descriptions_in` its payload; None where none came, or the packet was lost.
        """
        pcm: list[list[Pcm]] = []
        told = itertools.repeat(None) if described is None else iter(described)
        for step in _steps(core, self._step):
            pcm.append([])
            first: bytes | None = None
            for joiner, channel, its in zip(self._channels, step, told, strict=False):
                pcm[-1].append(joiner.join(channel, its, lost, first))
                first = its if self._joint else None
        return _joined(pcm)


def descriptions_in(payload: bytes, config: CodecConfig) -> list[bytes]:
    """What the end of a payload says of the high band, channels within steps. Raises PayloadError
    for one that holds nothing else.
    """
    parts, end = [], len(payload)
    for _ in range(config.steps):
        for channel in reversed(range(config.channels)):
            second = config.joint and channel == 1
            # Its last byte says whether there is another.
            short = second and end > 0 and payload[end - 1] < HIGH_BAND_REFINED
            size = 1 if short else HIGH_BAND_BYTES
            parts.append(payload[max(0, end - size) : max(0, end)])
            end -= size
    if end < 1:
        raise PayloadError(
            f"payload of {len(payload)} bytes: with {len(payload) - end} for the high band it must "
            "be longer"
        )
    return parts[::-1]


def _steps(pcm: Pcm, size: int) -> list[Pcm]:
    """[T, C] -> [C, size] of each step."""
    return [pcm[begin : begin + size].T for begin in range(0, len(pcm), size)]


def _joined(steps: list[list[Pcm]]) -> Pcm:
    """Of each step its channels [size] -> [T, C]."""
    if len(steps) == 1 == len(steps[0]):
        return steps[0][0][:, None]
    return np.concatenate([np.stack(channels, 1) for channels in steps])
