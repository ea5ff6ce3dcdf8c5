"""`bench speed`: what a packet costs on one core, engine by engine, beside libopus in the
same run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soxr

import streamcodec
from streamcodec.coding.stream import DESCRIPTION_BPS
from streamcodec.tables import HIGH_BAND_FACTOR
from streamcodec.units import Pcm

from .codecs import OPUS_FRAME_MS
from .coded import int16
from .formats import SAMPLE_RATE
from .latency import read_mono, read_trace

FULL_BAND = "native, full band"
PACKET_MS = 20.0
PACKET = round(SAMPLE_RATE * PACKET_MS / 1000)
STREAM_OFFSET = 37  # packets; so far apart do streams begin in the recording
WARM_UP_STEPS = 20
TURN_S = 0.1  # of one contender before the next: caches are cold in its first steps alone
LIMIT_MS = 20.0  # a step must be done before the next packet is full
SERVED = (1, 2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 256)
STARTED = """
import pathlib, sys, time
import numpy as np
import streamcodec
model = streamcodec.load_model({model!r}, "cpu", {engine!r})
encoder = streamcodec.StreamEncoder(model, bitrate_bps=6000)
decoder = streamcodec.StreamDecoder(model, encoder.config)
payload, = encoder.encode(np.zeros(model.config.packet_samples, np.float32))
done_ns = time.monotonic_ns()
for _ in range(100):
    decoder.decode(payload)
status = pathlib.Path("/proc/self/status")
peak = status.read_text().split("VmHWM:")[1].split()[0] if status.exists() else "nan"
print(done_ns, peak, "torch" in sys.modules)
"""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one direction. Percentiles: wall time of a step that serves all streams, ms. cpu_ms: CPU
    time of one stream's packet, mean.
    """

    p50_ms: float
    p99_ms: float
    p999_ms: float
    cpu_ms: float


@dataclasses.dataclass(frozen=True)
class Row:
    """One engine with so many streams at once."""

    engine: str
    streams: int
    encode: Cost
    decode: Cost

    @property
    def cpu_ms(self) -> float:
        return self.encode.cpu_ms + self.decode.cpu_ms

    @property
    def rtf(self) -> float:
        """CPU time a second of audio, encoded and decoded."""
        return self.cpu_ms / PACKET_MS


@dataclasses.dataclass(frozen=True)
class Start:
    """A fresh process: seconds from its start to the first payload, its largest memory, and whether
    it loaded PyTorch.
    """

    engine: str
    first_payload_s: float
    memory_mb: float
    torch: bool


@dataclasses.dataclass(frozen=True)
class Steps:
    """What is timed: one packet of every stream, `encode` and `decode` in turn."""

    engine: str
    streams: int
    encode: Callable[[int], None]
    decode: Callable[[int], None]


def codec_steps(
    pcm: Pcm, model: str | None, engine: str, streams: int, bitrate_bps: float
) -> Steps:
    """Ours, all in: PCM to payloads and back."""
    loaded = streamcodec.load_model(model, "cpu", engine)
    encoders = [streamcodec.StreamEncoder(loaded, bitrate_bps=bitrate_bps) for _ in range(streams)]
    decoders = [streamcodec.StreamDecoder(loaded, e.config) for e in encoders]
    payloads: list[bytes] = []

    def encode(step: int) -> None:
        packets = [_packet(pcm, stream, step) for stream in range(streams)]
        payloads[:] = [made[0] for made in streamcodec.encode_together(encoders, packets)]

    def decode(step: int) -> None:
        streamcodec.decode_together(decoders, payloads)

    return Steps(engine, streams, encode, decode)


def full_band_steps(pcm: Pcm, model: str | None, bitrate_bps: float) -> Steps:
    """One stream of the native engine at 48 kHz, whose core has the rate `bitrate_bps`."""
    loaded = streamcodec.load_model(model, "cpu", "native")
    wide = soxr.resample(pcm, SAMPLE_RATE, HIGH_BAND_FACTOR * SAMPLE_RATE).astype(np.float32)
    encoder = streamcodec.StreamEncoder(
        loaded, bitrate_bps=bitrate_bps + DESCRIPTION_BPS, full_band=True
    )
    decoder = streamcodec.StreamDecoder(loaded, encoder.config)
    payloads: list[bytes] = []

    def encode(step: int) -> None:
        payloads[:] = encoder.encode(_packet(wide, 0, step, HIGH_BAND_FACTOR * PACKET))

    def decode(step: int) -> None:
        decoder.decode(payloads[0])

    return Steps(FULL_BAND, 1, encode, decode)


def opus_steps(pcm: Pcm, bitrate_bps: float) -> Steps:
    """libopus through PyAV: VOIP, complexity 10, VBR."""
    import av

    encoder = av.CodecContext.create("libopus", "w")
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(encoder, av.AudioCodecContext)
    assert isinstance(decoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = SAMPLE_RATE, "mono", "s16"
    encoder.bit_rate, encoder.time_base = int(bitrate_bps), Fraction(1, SAMPLE_RATE)
    encoder.options = {
        "application": "voip",
        "vbr": "on",
        "compression_level": "10",
        "frame_duration": str(OPUS_FRAME_MS),
    }
    decoder.sample_rate, decoder.layout = SAMPLE_RATE, "mono"
    packets: list[Any] = []

    def encode(step: int) -> None:
        samples = int16(_packet(pcm, 0, step))[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, step * PACKET
        packets[:] = encoder.encode(frame)

    def decode(step: int) -> None:
        for packet in packets:
            for frame in decoder.decode(packet):
                frame.to_ndarray()

    return Steps("libopus", 1, encode, decode)


def measure(contenders: list[Steps], seconds: float) -> list[Row]:
    """Every contender for so many seconds of CPU time, in turns of TURN_S: what else the machine
    does meets all of them alike.
    """
    wall: dict[int, tuple[list[float], list[float]]] = {n: ([], []) for n in range(len(contenders))}
    spent = {n: [0.0, 0.0] for n in wall}
    count = dict.fromkeys(wall, 0)
    for steps in contenders:
        for step in range(WARM_UP_STEPS):
            steps.encode(step)
            steps.decode(step)
    left = list(wall)
    while left:
        for n in left:
            steps = contenders[n]
            until = time.perf_counter() + TURN_S
            while time.perf_counter() < until:
                for side, function in enumerate((steps.encode, steps.decode)):
                    began, cpu = time.perf_counter(), time.process_time()
                    function(WARM_UP_STEPS + count[n])
                    spent[n][side] += time.process_time() - cpu
                    wall[n][side].append(1000 * (time.perf_counter() - began))
                count[n] += 1
        left = [n for n in left if sum(spent[n]) < seconds]

    def cost(n: int, side: int) -> Cost:
        p50, p99, p999 = (float(v) for v in np.percentile(wall[n][side], (50, 99, 99.9)))
        return Cost(p50, p99, p999, 1000 * spent[n][side] / count[n] / contenders[n].streams)

    return [
        Row(steps.engine, steps.streams, cost(n, 0), cost(n, 1))
        for n, steps in enumerate(contenders)
    ]


def served_streams(pcm: Pcm, model: str | None, bitrate_bps: float, seconds: float) -> int:
    """The most duplex streams of the native engine whose steps, encoded and decoded, are done
    within LIMIT_MS in 99 of 100 cases.
    """
    served = 0
    for streams in SERVED:
        steps = codec_steps(pcm, model, "native", streams, bitrate_bps)
        took = []
        began, step = time.perf_counter(), 0
        while time.perf_counter() - began < seconds or step < 2 * WARM_UP_STEPS:
            at = time.perf_counter()
            steps.encode(step)
            steps.decode(step)
            took.append(1000 * (time.perf_counter() - at))
            step += 1
        if np.percentile(took[WARM_UP_STEPS:], 99) > LIMIT_MS:
            break
        served = streams
    return served


def start(model: str | None, engine: str) -> Start:
    """Of a process of its own; the second of two, so that the disk is warm."""
    for _ in range(2):
        began_ns = time.monotonic_ns()
        program = STARTED.format(model=model, engine=engine)
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
    done_ns, memory, torch = done.stdout.split()
    return Start(engine, (int(done_ns) - began_ns) / 1e9, float(memory) / 1024, torch == "True")


def first_packet_s(model: str | None, engine: str) -> float:
    """From the start of `streamcodec send` to its first packet on the way to a relay."""
    options = ["--model", model] if model is not None else []
    command = [sys.executable, "-m", "streamcodec_client"]
    relay = subprocess.Popen(  # noqa: S603
        [*command, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    said = relay.stdout
    assert said is not None
    try:
        url = said.readline().split()[-1]
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder) / "trace.jsonl"
            send = [*command, "send", "--url", url, "--source", "tone", "--duration", "0.2"]
            for _ in range(2):
                began_ns = time.monotonic_ns()
                subprocess.run(  # noqa: S603
                    [*send, "--trace", trace, "--force", "--quiet", "--engine", engine, *options],
                    check=True,
                )
            _, packets = read_trace(trace)
    finally:
        relay.terminate()
        relay.wait()
        said.close()
    return float(packets[0]["sent_ns"] - began_ns) / 1e9


def read_recording(path: Path) -> Pcm:
    """[T] at SAMPLE_RATE."""
    import soxr

    pcm, rate = read_mono(path)
    resampled: Pcm = soxr.resample(pcm, rate, SAMPLE_RATE)
    return resampled


@contextlib.contextmanager
def on_one_core() -> Iterator[None]:
    """The process stays on one of its cores, where the system can be told."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


HEAD = (
    "engine",
    "streams",
    "encode p50 / p99 / p99.9 ms",
    "decode p50 / p99 / p99.9 ms",
    "CPU ms a packet",
    "RTF",
    "x libopus",
    "CPU s an hour",
)
TABLE_HEAD = f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|"


def table_row(row: Row, opus: Row | None) -> str:
    ratio = "-" if opus is None else f"{row.cpu_ms / opus.cpu_ms:.2f}"
    cells = (
        row.engine,
        str(row.streams),
        *(f"{c.p50_ms:.3f} / {c.p99_ms:.3f} / {c.p999_ms:.3f}" for c in (row.encode, row.decode)),
        f"{row.encode.cpu_ms:.3f} + {row.decode.cpu_ms:.3f}",
        f"{row.rtf:.4f}",
        ratio,
        f"{3_600 * row.rtf:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def to_json(
    rows: list[Row], starts: list[Start], served: int, first_packet: dict[str, float]
) -> str:
    report = {
        "rows": [dataclasses.asdict(row) | {"rtf": row.rtf} for row in rows],
        "starts": [dataclasses.asdict(s) for s in starts],
        "streams_a_core": served,
        "send_to_first_packet_s": first_packet,
    }
    return json.dumps(report, indent=1) + "\n"


def draw(target: Path, rows: list[Row]) -> None:
    """CPU time a packet of every row, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [f"{r.engine}, {r.streams} stream{'s'[: r.streams - 1]}" for r in rows]
    figure, axis = plt.subplots(figsize=(7, 0.5 + 0.4 * len(rows)), layout="constrained")
    for offset, side in ((-0.2, "encode"), (0.2, "decode")):
        values = [getattr(r, side).cpu_ms for r in rows]
        axis.barh(np.arange(len(rows)) + offset, values, 0.38, label=side)
    axis.set_yticks(np.arange(len(rows)), names, fontsize=8)
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xlabel("CPU ms a packet of 20 ms, one stream", fontsize=8)
    axis.legend(fontsize=8, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def _packet(pcm: Pcm, stream: int, step: int, size: int = PACKET) -> Pcm:
    """Packet `step`, of `size` samples, of a stream that speaks the recording over and over."""
    whole = len(pcm) // size * size
    start = size * (STREAM_OFFSET * stream + step) % whole
    return pcm[start : start + size]
