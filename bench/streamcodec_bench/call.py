"""Two `talk` and a relay as processes of their own, with virtual sound devices: how long a voice
takes from one microphone to the other loudspeaker. Linux only.

Microphones and loudspeakers are null sinks of PulseAudio. Mouth to ear is measured outside of the
programs: their microphones' and loudspeakers' monitors are recorded at once and cross-correlated.
It holds all that sound devices, drivers' buffers and the sound server add.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr

from streamcodec.errors import AudioError
from streamcodec.units import Pcm

from .latency import Spread, end_to_end_latencies, read_mono, read_trace
from .live_session import PROGRAM, cpu_seconds, line_with, started
from .sound_server import RATE, SoundServer

COMPARED_RATE = 16_000  # of the sound that is compared
SETTLE_S = 10.0  # from 60 ms the playout delay falls to what the network needs
PACAT_LATENCY_MS = 10


@dataclasses.dataclass(frozen=True)
class CallPlan:
    """`seconds`: how long both talk, after SETTLE_S. `busy`: so many processes compute without
    pause beside the call.
    """

    source: Path
    seconds: float
    busy: int
    bitrate_bps: float
    model: str | None


@dataclasses.dataclass(frozen=True)
class Direction:
    """One person as the other hears them. steps_ms: p50, p99 and p99.9 of encoding and decoding a
    packet. `cpu_share`: of one core, by the talker's process. `reported_ms`: mouth to ear, as the
    listener reports it.
    """

    talker: str
    mouth_to_ear_ms: Spread
    windows: int
    reported_ms: Spread
    encode_ms: tuple[float, float, float]
    decode_ms: tuple[float, float, float]
    packets: int
    concealed: int
    underruns: int
    cpu_share: float


class Recorder:
    """Records the monitor of a null sink, and knows when each sample was played."""

    def __init__(self, server: SoundServer, sink: str) -> None:
        command = ["pacat", "--record", "--raw", "--format=float32le", "--channels=1"]
        command += [f"--rate={RATE}", f"--device={sink}.monitor"]
        command += [f"--latency-msec={PACAT_LATENCY_MS}"]
        self._process = subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, env=server.environment()
        )
        self._pieces: list[bytes] = []
        self._starts_ns: list[int] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def stop(self) -> tuple[Pcm, int]:
        """-> what was played [T] at COMPARED_RATE, when its first sample was recorded (ns)."""
        self._process.kill()  # terminated, it may go on for a minute beside busy processes
        self._thread.join()
        self._process.wait()
        data = b"".join(self._pieces)
        pcm = np.frombuffer(data[: len(data) // 4 * 4], np.float32)
        return soxr.resample(pcm, RATE, COMPARED_RATE), round(np.median(self._starts_ns))

    def heard(self, loudness: float) -> bool:
        """Whether anything as loud was played so far."""
        data = b"".join(self._pieces)
        pcm = np.frombuffer(data[: len(data) // 4 * 4], np.float32)
        return bool((np.abs(pcm) > loudness).any())

    def _read(self) -> None:
        assert self._process.stdout is not None
        descriptor, count = self._process.stdout.fileno(), 0
        while data := os.read(descriptor, 1 << 16):
            count += len(data)
            # Each piece tells when the first sample was recorded, more or less: some are held up by
            # the sound server, some come before their time.
            self._starts_ns.append(time.monotonic_ns() - count * 10**9 // (4 * RATE))
            self._pieces.append(data)
        self._process.stdout.close()


def measure(plan: CallPlan) -> list[Direction]:
    """Raises AudioError where there is no sound server, or nothing is heard; SessionFailed."""
    speech, rate = read_mono(plan.source)
    speech = soxr.resample(speech, rate, RATE)
    with tempfile.TemporaryDirectory(prefix="streamcodec-call-") as name:
        folder = Path(name)
        sinks = [f"{part}_{who}" for part in ("mic", "ear") for who in "ab"]
        with SoundServer(folder, sinks) as server:
            return _call(plan, server, folder, speech)


def _call(plan: CallPlan, server: SoundServer, folder: Path, speech: Pcm) -> list[Direction]:
    with contextlib.ExitStack() as stack:
        relay = stack.enter_context(started([*PROGRAM, "serve", "--port", "0"]))
        url = line_with(relay, "listening on ").split("listening on ")[1].split()[0]
        talks = {}
        for who in "ab":
            command = [*PROGRAM, "talk", "--url", url, "--name", who, "--json"]
            command += ["--bitrate", str(plan.bitrate_bps)]
            command += ["--trace", str(folder / f"sent-{who}.jsonl")]
            command += ["--listen-trace", str(folder / f"heard-{who}.jsonl")]
            command += ["--model", plan.model] if plan.model else []
            output = stack.enter_context((folder / f"lines-{who}.jsonl").open("w"))
            environment = server.environment(f"mic_{who}", f"ear_{who}")
            talks[who] = stack.enter_context(started(command, output, environment))
        # Each says the same, but not at the same time.
        for who, said in (("a", speech), ("b", np.roll(speech, len(speech) // 2))):
            stack.enter_context(speaking(server, f"mic_{who}", said))
        for _ in range(plan.busy):
            stack.enter_context(busy_process())
        time.sleep(SETTLE_S)
        names = [f"{part}_{who}" for part in ("mic", "ear") for who in "ab"]
        recorders = {name: Recorder(server, name) for name in names}
        cpu_s = {who: cpu_seconds(process.pid) for who, process in talks.items()}
        time.sleep(plan.seconds)
        shares = {
            who: (cpu_seconds(process.pid) - cpu_s[who]) / plan.seconds
            for who, process in talks.items()
        }
        recorded = {name: recorder.stop() for name, recorder in recorders.items()}
        for who, process in talks.items():
            if process.poll() is not None:
                words = process.stderr.read() if process.stderr else ""
                raise AudioError(f"talker {who} ended early: {words.strip()[-200:]}")
            process.terminate()
        for process in talks.values():
            process.wait()
    return [
        _direction(folder, who, other, recorded[f"mic_{who}"], recorded[f"ear_{other}"], shares)
        for who, other in (("a", "b"), ("b", "a"))
    ]


def _direction(
    folder: Path,
    talker: str,
    listener: str,
    said: tuple[Pcm, int],
    heard: tuple[Pcm, int],
    cpu_shares: dict[str, float],
) -> Direction:
    delays_ms = end_to_end_latencies(said[0], heard[0], COMPARED_RATE, said[1], heard[1])
    if not len(delays_ms):
        raise AudioError(f"{listener} heard nothing of {talker}")
    lines = (folder / f"lines-{listener}.jsonl").read_text().splitlines()
    statistics = [json.loads(line) for line in lines]
    last = [line["receive"] for line in statistics if "receive" in line][-1]
    settled = [line for line in statistics if line["type"] == "statistics"]
    reported = [
        stream["mouth_to_ear_ms"]
        for line in settled
        if line["time_s"] > SETTLE_S
        for stream in line["receive"]["streams"]
        if stream["mouth_to_ear_ms"] is not None
    ]
    return Direction(
        talker,
        Spread.of(delays_ms),
        len(delays_ms),
        Spread.of(reported),
        _step_ms(folder / f"sent-{talker}.jsonl", "encode_start_ns", "encoded_ns"),
        _step_ms(folder / f"heard-{listener}.jsonl", "decode_start_ns", "decoded_ns"),
        last["packets"],
        last["concealed"],
        last["underruns"],
        round(cpu_shares[talker], 3),
    )


def _step_ms(trace: Path, start: str, end: str) -> tuple[float, float, float]:
    """p50, p99 and p99.9 of the time between two events of each packet."""
    _, packets = read_trace(trace)
    steps = [(p[end] - p[start]) / 1e6 for p in packets if p.get(start) and p.get(end)]
    p50, p99, p999 = (round(float(v), 2) for v in np.percentile(steps, [50, 99, 99.9]))
    return p50, p99, p999


@contextlib.contextmanager
def speaking(server: SoundServer, sink: str, pcm: Pcm) -> Iterator[None]:
    """pcm [T] at RATE. Somebody speaks into the microphone `sink`, over and over."""
    command = ["pacat", "--playback", "--raw", "--format=float32le", "--channels=1"]
    command += [f"--rate={RATE}", f"--device={sink}", f"--latency-msec={PACAT_LATENCY_MS}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=server.environment()) as process:  # noqa: S603
        pipe = process.stdin
        assert pipe is not None
        stopping = threading.Event()

        def speak() -> None:
            with contextlib.suppress(BrokenPipeError, ValueError), pipe:
                while not stopping.is_set():
                    for start in range(0, len(pcm), RATE):
                        pipe.write(pcm[start : start + RATE].tobytes())

        thread = threading.Thread(target=speak)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            process.terminate()
            thread.join()


@contextlib.contextmanager
def busy_process() -> Iterator[None]:
    """A process that computes without pause."""
    with subprocess.Popen(["sh", "-c", "while :; do :; done"]) as process:  # noqa: S607
        try:
            yield
        finally:
            process.terminate()


TABLE_HEAD = (
    "| talker | mouth to ear p50 / p99 ms | reported p50 ms | encode p50 / p99 / p99.9 ms "
    "| decode p50 / p99 / p99.9 ms | packets | concealed | underruns | share of a core |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def table_row(way: Direction) -> str:
    """A row of the table below TABLE_HEAD."""
    encode, decode = (" / ".join(f"{v:.2f}" for v in s) for s in (way.encode_ms, way.decode_ms))
    return (
        f"| {way.talker} | {way.mouth_to_ear_ms.p50:.0f} / {way.mouth_to_ear_ms.p99:.0f} "
        f"| {way.reported_ms.p50:.0f} | {encode} | {decode} | {way.packets} | {way.concealed} "
        f"| {way.underruns} | {way.cpu_share:.1%} |"
    )
