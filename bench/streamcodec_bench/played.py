"""What a listener in the impairment laboratory hears, and its PESQ: packets are decoded, concealed
and scaled as a playout buffer asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline

from streamcodec.coding.model import load_model
from streamcodec.coding.stream import StreamDecoder, StreamEncoder
from streamcodec.live.speed import FINE_SPEED, is_fine
from streamcodec.live.timescale import TimeScaler
from streamcodec.units import Pcm

from .content import read_clips
from .formats import SAMPLE_RATE
from .metrics import pesq
from .network import PACKET_MS, Heard, Scenario

JUDGED_S, SLICE_S = 30.0, 10.0  # PESQ of longer pieces takes long and tells no more
PER_MS = SAMPLE_RATE // 1000


class Speech:
    """A recording that the talker repeats without end, coded once."""

    def __init__(self, path: Path, model: str | None, bitrate_bps: float = 6_000) -> None:
        """path: a recording, or a folder whose first one is used. model: name or folder, None for
        the default. Raises AudioError, ModelError.
        """
        pcm = read_clips(path, 1)[0].pcm
        packet = round(PACKET_MS * PER_MS)
        self._pcm = pcm[: len(pcm) // packet * packet]
        self._model = load_model(model, "cpu")
        encoder = StreamEncoder(self._model, bitrate_bps=bitrate_bps, copies=True)
        self._config = encoder.config
        self._payloads, self._copies = encoder.encode(self._pcm), encoder.copies

    def pesq(self, heard: Iterable[Heard], scenario: Scenario) -> float:
        """PESQ-WB of the last JUDGED_S of the scenario: the mean over slices of SLICE_S. NaN where
        nothing was played.
        """
        begin_ms = max(scenario.settled_s, scenario.seconds - JUDGED_S) * 1000
        judged = [h for h in heard if h.at_ms >= begin_ms]
        if not judged:
            return float("nan")
        played = self._decoded(judged, begin_ms)
        delays = [h.delay_ms for h in judged if h.delay_ms is not None]
        spoken_from_ms = begin_ms - float(np.median(delays))
        scores = []
        size = round(SLICE_S * SAMPLE_RATE)
        for start in range(0, len(played) - size + 1, size):
            first = round(spoken_from_ms * PER_MS) + start
            reference = self._pcm[np.arange(first, first + size) % len(self._pcm)]
            scores.append(pesq(reference, played[start : start + size]))
        return float(np.nanmean(scores)) if scores else float("nan")

    def _decoded(self, judged: list[Heard], begin_ms: float) -> Pcm:
        decoder, scaler = StreamDecoder(self._model, self._config), TimeScaler(SAMPLE_RATE)
        last = judged[-1]
        out = np.zeros(round((last.at_ms - begin_ms + 2 * PACKET_MS) * PER_MS), np.float32)
        for h, following in zip(judged, [*judged[1:], None], strict=True):
            if h.waited_ms is None:
                pcm = decoder.decode(None)
            else:
                if not h.follows:
                    decoder.reset()
                payloads = self._copies if h.is_copy else self._payloads
                pcm = decoder.decode(payloads[h.number % len(payloads)])
            scaled = scaler.scale(pcm, 1.0 if is_fine(h.speed) else h.speed)[:, 0]
            start = round((h.at_ms - begin_ms) * PER_MS)
            if following is not None:
                scaled = _fitted(scaled, round((following.at_ms - begin_ms) * PER_MS) - start)
            part = out[start : start + len(scaled)]
            part[:] = scaled[: len(part)]
        return out


def _fitted(pcm: Pcm, samples: int) -> Pcm:
    """Resamples a packet by at most FINE_SPEED, so that the next one follows without a gap, as the
    live path does. pcm [T] -> [samples], or pcm itself where more would be needed.
    """
    if samples == len(pcm) or abs(samples - len(pcm)) > FINE_SPEED * len(pcm) + 1:
        return pcm
    at = np.linspace(0, len(pcm) - 1, samples)
    fitted: Pcm = CubicSpline(np.arange(len(pcm)), pcm)(at).astype(np.float32)
    return fitted
