"""Latency of a live session: stage by stage from the packets' traces, and end to end from the
sound.

All times are CLOCK_MONOTONIC, which the processes of a machine share. The end-to-end figure does
not depend on the stages: sent and played sound are cross-correlated.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import correlate

from streamcodec.errors import AudioError
from streamcodec.units import Pcm

WINDOW_S = 1.0
SEARCH_S = 1.0
QUIET = 10 ** (-45 / 20)
LEAST_CORRELATION = 0.5
# Stage -> the two times of the merged trace between which it lies, in a packet's order.
STAGES = {
    "capture": ("captured_ns", "encode_start_ns"),
    "encode": ("encode_start_ns", "encoded_ns"),
    "send": ("encoded_ns", "sent_ns"),
    "network + relay": ("sent_ns", "received_ns"),
    "playout buffer": ("received_ns", "decode_start_ns"),
    "decode": ("decode_start_ns", "decoded_ns"),
    "output": ("decoded_ns", "played_ns"),
}


@dataclasses.dataclass(frozen=True)
class Spread:
    """Median and 99th percentile, in milliseconds."""

    p50: float
    p99: float

    @classmethod
    def of(cls, values: list[float] | NDArray[np.float64]) -> Spread:
        if not len(values):
            return cls(float("nan"), float("nan"))
        return cls(*(round(float(v), 2) for v in np.percentile(values, [50, 99])))


@dataclasses.dataclass(frozen=True)
class LatencyReport:
    """Milliseconds. end_to_end: over windows of the recording; creep_ms: the last windows less the
    first ones. estimated: end to end as the listener reports it each second, from clocks compared
    over the relay.
    """

    packet_fill_ms: float
    overlap_ms: float
    stages: dict[str, Spread]
    end_to_end: Spread
    creep_ms: float
    windows: int
    estimated: Spread


def read_trace(path: Path) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """JSON lines -> the fields of the session, such as source_start_ns, and the packets."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    facts: dict[str, int] = {}
    for line in lines:
        if "sequence" not in line:
            facts.update(line)
    return facts, [line for line in lines if "sequence" in line]


def stage_latencies(
    sender: list[dict[str, Any]], listener: list[dict[str, Any]]
) -> dict[str, Spread]:
    """Merged by sequence number; concealed packets passed no stage and are left out."""
    sent = {line["sequence"]: line for line in sender}
    merged = [
        sent[line["sequence"]] | line
        for line in listener
        if line["sequence"] in sent and not line.get("concealed")
    ]
    spreads = {}
    for stage, (start, end) in STAGES.items():
        spreads[stage] = Spread.of(
            [
                (m[end] - m[start]) / 1e6
                for m in merged
                if m.get(start) is not None and m.get(end) is not None
            ]
        )
    return spreads


def end_to_end_latencies(
    sent: Pcm, played: Pcm, sample_rate: int, source_start_ns: int, sink_start_ns: int
) -> NDArray[np.float64]:
    """sent, played [T] -> ms between capture and playing, for each window of `sent` that is loud
    enough to be found in `played`.
    """
    offset_ms = (sink_start_ns - source_start_ns) / 1e6
    window, search = round(WINDOW_S * sample_rate), round(SEARCH_S * sample_rate)
    latencies = []
    for start in range(0, len(sent) - window, window):
        piece = sent[start : start + window]
        # where it would be without any latency
        earliest = max(0, start - round(offset_ms * sample_rate / 1000))
        region = played[earliest : earliest + window + search]
        if np.sqrt(np.mean(piece**2)) < QUIET or len(region) < window:
            continue
        scores = correlate(region, piece, "valid")
        energy = np.sqrt(
            np.maximum(1e-9, np.convolve(region**2, np.ones(window), "valid") * np.sum(piece**2))
        )
        best = int(np.argmax(scores / energy))
        if scores[best] / energy[best] >= LEAST_CORRELATION:
            latencies.append((earliest + best - start) / sample_rate * 1000 + offset_ms)
    return np.array(latencies)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raises AudioError where soundfile cannot read `path`."""
    try:
        yield
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"cannot read {path} as audio: {error}") from error


def read_mono(path: Path) -> tuple[Pcm, int]:
    """PCM [T], channels averaged, and its sample rate in Hz. Raises AudioError for a file without
    audio, or without a sample.
    """
    with reading(path):
        pcm, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    if not len(pcm):
        raise AudioError(f"{path} is empty")
    return pcm.mean(1), sample_rate


def latency_report(
    source: Path,
    decoded: Path,
    sender_trace: Path,
    listener_trace: Path,
    packet_ms: float,
    overlap_ms: float,
    estimates_ms: list[float],
) -> LatencyReport:
    """`estimates_ms`: mouth to ear as the listener reported it. Raises AudioError where the played
    sound cannot be matched with the sent one.
    """
    facts_sent, sender = read_trace(sender_trace)
    facts_heard, listener = read_trace(listener_trace)
    sent, rate = read_mono(source)
    played, played_rate = read_mono(decoded)
    if played_rate != rate:
        raise AudioError(
            f"{decoded} has {played_rate} Hz, {source} has {rate}: "
            "record the session at the source's rate"
        )
    heard = end_to_end_latencies(
        sent, played, rate, facts_sent["source_start_ns"], facts_heard["sink_start_ns"]
    )
    if not len(heard):
        raise AudioError(f"nothing in {decoded} matches {source}: was anything played?")
    creep = float(np.mean(heard[-3:]) - np.mean(heard[:3]))
    stages = stage_latencies(sender, listener)
    return LatencyReport(
        packet_ms,
        overlap_ms,
        stages,
        Spread.of(heard),
        round(creep, 2),
        len(heard),
        Spread.of(estimates_ms),
    )
