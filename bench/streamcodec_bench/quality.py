"""PESQ-WB and ESTOI at equal payload rates, ours through its real bitstream beside libopus in the same run."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.signal import correlate

import streamcodec
from streamcodec.errors import AudioError
from streamcodec.model import CodecModel, load_model

from .peers import Coded, opus

Pcm = NDArray[np.float32]
SUFFIXES = (".flac", ".ogg", ".opus", ".wav")
SAMPLE_RATE = 16_000
LEAST_SECONDS, MOST_SECONDS = 1.0, 15.0
MAX_DELAY_S = 0.1


@dataclasses.dataclass(frozen=True)
class Score:
    """One clip at one rate."""

    codec: str
    target_bps: float
    clip: str
    bitrate_bps: float
    pesq: float
    estoi: float
    encode_rtf: float
    decode_rtf: float


@dataclasses.dataclass(frozen=True)
class Row:
    """Means over the clips; *_ci: half width of the 95 % interval of the mean (normal)."""

    codec: str
    target_bps: float
    clips: int
    bitrate_kbps: float
    pesq: float
    pesq_ci: float
    estoi: float
    estoi_ci: float
    encode_rtf: float
    decode_rtf: float


def read_clips(folder: Path, limit: int | None) -> list[tuple[str, Pcm]]:
    """Name and [T] at 16 kHz of every clip below `folder`, evenly chosen where there are more than `limit`. Raises AudioError."""
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES)
    if not files:
        raise AudioError(f"no audio below {folder}: looked for {', '.join(SUFFIXES)}")
    if limit is not None and limit < len(files):
        files = [files[i * len(files) // limit] for i in range(limit)]
    clips = []
    for file in files:
        pcm, rate = soundfile.read(file, dtype="float32", always_2d=True)
        mono = soxr.resample(pcm.mean(1), rate, SAMPLE_RATE).astype(np.float32)[: round(MOST_SECONDS * SAMPLE_RATE)]
        if len(mono) >= LEAST_SECONDS * SAMPLE_RATE:
            clips.append((file.stem, mono))
    if not clips:
        raise AudioError(f"every clip below {folder} is shorter than {LEAST_SECONDS:g} s")
    return clips


def aligned(reference: Pcm, output: Pcm) -> tuple[Pcm, Pcm]:
    """Both cut to the same length after the delay at which they correlate best."""
    limit = round(MAX_DELAY_S * SAMPLE_RATE)
    scores = correlate(output, reference, "full")[len(reference) - 1 :][: limit + 1]
    delay = int(np.argmax(scores))
    moved = output[delay : delay + len(reference)]
    return reference[: len(moved)], moved


def score(name: str, reference: Pcm, codec: str, target_bps: float, coder: Callable[[Pcm, float], Coded]) -> Score:
    from pesq import pesq
    from pystoi import stoi

    seconds = len(reference) / SAMPLE_RATE
    coded = coder(reference, target_bps)
    ref, out = aligned(reference, coded.pcm)
    return Score(
        codec,
        target_bps,
        name,
        coded.payload_bytes * 8 / seconds,
        float(pesq(SAMPLE_RATE, ref, out, "wb")),
        float(stoi(ref, out, SAMPLE_RATE, extended=True)),
        coded.encode_s / seconds,
        coded.decode_s / seconds,
    )


def our_codec(pcm: Pcm, target_bps: float, model_name: str | None) -> Coded:
    """Through the real bitstream, packet by packet, as a live stream would go."""
    model = _model(model_name)
    encoder = streamcodec.StreamEncoder(model, bitrate_bps=target_bps)
    began = time.process_time()
    payloads = streamcodec.encode(pcm, encoder)
    encoded = time.process_time()
    back = streamcodec.decode(payloads, streamcodec.StreamDecoder(model), len(pcm))
    return Coded(back[:, 0], sum(map(len, payloads)), encoded - began, time.process_time() - encoded)


def opus_codec(pcm: Pcm, target_bps: float) -> Coded:
    return opus(pcm, SAMPLE_RATE, target_bps)


def measure(
    folder: Path,
    rates_bps: list[float],
    *,
    model: str | None,
    peers: bool,
    limit: int | None,
    jobs: int,
    on_row: Callable[[Row], None],
) -> list[Row]:
    """Rows in the order in which they are done, each told to `on_row`."""
    clips = read_clips(folder, limit)
    rows = []
    with ProcessPoolExecutor(jobs, initializer=_one_thread) as pool:
        for rate in rates_bps:
            coders: dict[str, Callable[[Pcm, float], Coded]] = {"streamcodec": functools.partial(our_codec, model_name=model)}
            if peers and rate >= 6_000:  # libopus takes no less than 6 kbit/s
                coders["opus"] = opus_codec
            for codec, coder in coders.items():
                jobs_ = [pool.submit(score, name, pcm, codec, rate, coder) for name, pcm in clips]
                rows.append(summarise([job.result() for job in jobs_]))
                on_row(rows[-1])
    return rows


def summarise(scores: list[Score]) -> Row:
    def mean(field: str) -> float:
        return float(np.mean([getattr(s, field) for s in scores]))

    def half_width(field: str) -> float:
        values = [getattr(s, field) for s in scores]
        return float(1.96 * np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else float("nan")

    return Row(
        scores[0].codec,
        scores[0].target_bps,
        len(scores),
        mean("bitrate_bps") / 1000,
        mean("pesq"),
        half_width("pesq"),
        mean("estoi"),
        half_width("estoi"),
        mean("encode_rtf"),
        mean("decode_rtf"),
    )


def table(rows: list[Row]) -> str:
    head = ["| codec | kbit/s | PESQ-WB | ESTOI | RTF enc + dec |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(table_row(row) for row in rows)])


def table_row(r: Row) -> str:
    return (
        f"| {r.codec} | {r.bitrate_kbps:.2f} | {r.pesq:.2f} ± {r.pesq_ci:.2f} | {r.estoi:.3f} ± {r.estoi_ci:.3f} | "
        f"{r.encode_rtf:.4f} + {r.decode_rtf:.4f} |"
    )


def default_jobs() -> int:
    return max(1, (os.cpu_count() or 2) // 2)


@functools.cache
def _model(name: str | None) -> CodecModel:
    """One copy of the weights a worker process."""
    return load_model(name, "cpu")


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
