"""`bench quality`: every codec at every rate on every clip in one run, and means over the clips."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from scipy.signal import correlate

from streamcodec.units import Pcm

from .bdrate import bd_rate
from .codecs import SAMPLE_RATE, PeerCodec, all_codecs
from .content import Clip
from .metrics import LOWER_IS_BETTER, METRICS

MAX_DELAY_S = 0.1
OURS, ANCHOR = "streamcodec", "opus"


@dataclasses.dataclass(frozen=True)
class Score:
    """One clip through one codec at one rate. values: metric -> figure; NaN where the metric has
    none for this clip.
    """

    codec: str
    target_bps: float
    content: str
    clip: str
    bitrate_bps: float
    values: dict[str, float]
    encode_rtf: float
    decode_rtf: float


@dataclasses.dataclass(frozen=True)
class Row:
    """Means over the clips of one class. intervals: half widths of the 95 % intervals of the means
    (normal). worst: metric -> the clip that did worst, and its figure.
    """

    codec: str
    target_bps: float
    content: str
    clips: int
    bitrate_kbps: float
    means: dict[str, float]
    intervals: dict[str, float]
    worst: dict[str, tuple[str, float]]
    encode_rtf: float
    decode_rtf: float


def aligned(reference: Pcm, output: Pcm) -> tuple[Pcm, Pcm]:
    """Both cut to the same length after the delay at which they correlate best."""
    limit = round(MAX_DELAY_S * SAMPLE_RATE)
    scores = correlate(output, reference, "full")[len(reference) - 1 :][: limit + 1]
    delay = int(np.argmax(scores))
    moved = output[delay : delay + len(reference)]
    return reference[: len(moved)], moved


def score(clip: Clip, codec: PeerCodec, target_bps: float, metrics: list[str]) -> Score:
    seconds = len(clip.pcm) / SAMPLE_RATE
    coded = codec.code(clip.pcm, target_bps)
    reference, output = aligned(clip.pcm, coded.pcm)
    return Score(
        codec.name,
        target_bps,
        clip.content,
        clip.name,
        coded.payload_bytes * 8 / seconds,
        {name: METRICS[name](reference, output) for name in metrics},
        coded.encode_s / seconds,
        coded.decode_s / seconds,
    )


def measure(
    clips: list[Clip],
    rates_bps: list[float],
    *,
    codecs: list[str],
    metrics: list[str],
    model: str | None,
    jobs: int,
    on_row: Callable[[Row], None],
) -> tuple[list[Row], list[Score]]:
    """Rows in the order in which they are done, each also given to `on_row`, and the scores that
    they are means of.
    """
    known = all_codecs(model)
    rows, scores = [], []
    with ProcessPoolExecutor(jobs, initializer=_one_thread) as pool:
        for name in codecs:
            for rate in known[name].rates(rates_bps):
                pending = [pool.submit(score, clip, known[name], rate, metrics) for clip in clips]
                done = [job.result() for job in pending]
                scores += done
                for row in summarise(done):
                    rows.append(row)
                    on_row(row)
    return rows, scores


def summarise(scores: list[Score]) -> list[Row]:
    """A row for each class of content, in order of first appearance."""
    rows = []
    for content in dict.fromkeys(s.content for s in scores):
        group = [s for s in scores if s.content == content]
        names = list(group[0].values)
        columns = {name: [s.values[name] for s in group] for name in names}
        ranked = {name: [s for s in group if math.isfinite(s.values[name])] for name in names}
        worst = {
            name: (max if name in LOWER_IS_BETTER else min)(some, key=lambda s: s.values[name])
            for name, some in ranked.items()
            if some
        }
        rows.append(
            Row(
                group[0].codec,
                group[0].target_bps,
                content,
                len(group),
                float(np.mean([s.bitrate_bps for s in group])) / 1000,
                {name: _mean(column) for name, column in columns.items()},
                {name: _half_width(column) for name, column in columns.items()},
                {name: (s.clip, s.values[name]) for name, s in worst.items()},
                float(np.mean([s.encode_rtf for s in group])),
                float(np.mean([s.decode_rtf for s in group])),
            )
        )
    return rows


def bd_rates(rows: list[Row], metrics: Iterable[str]) -> dict[str, float | None]:
    """BD-rate in percent of ours against the anchor, for each metric that rises with quality, on
    the first class of content.
    """
    content = rows[0].content if rows else ""

    def curve(codec: str, metric: str) -> list[tuple[float, float]]:
        return [
            (r.bitrate_kbps, r.means[metric])
            for r in rows
            if r.codec == codec and r.content == content
        ]

    return {
        metric: bd_rate(curve(ANCHOR, metric), curve(OURS, metric))
        for metric in metrics
        if metric not in LOWER_IS_BETTER
    }


def default_jobs() -> int:
    return max(1, (os.cpu_count() or 2) // 2)


def _mean(values: list[float]) -> float:
    finite = [v for v in values if math.isfinite(v)]
    return float(np.mean(finite)) if finite else float("nan")


def _half_width(values: list[float]) -> float:
    finite = [v for v in values if math.isfinite(v)]
    return (
        float(1.96 * np.std(finite, ddof=1) / math.sqrt(len(finite)))
        if len(finite) > 1
        else float("nan")
    )


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
