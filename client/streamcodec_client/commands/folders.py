"""Recordings through the codec: one in this process, many by processes on all cores."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import click

from streamcodec.coding.model import CodecModel, load_model
from streamcodec.ending import signals_unwind
from streamcodec.errors import StreamcodecError

from .options import CodecOptions
from .recordings import Conversion, Done, Progress
from .targets import Job, Plan
from .whole_files import input_name, reading_whole, writing_whole

BAR_STEPS = 1000


@dataclasses.dataclass
class Outcome:
    """What became of a plan. seconds: of sound. payload_bytes, payload_s: of what was coded, and
    what it holds. elapsed_s: how long it took. failures, warnings: a line each.
    """

    converted: int = 0
    seconds: float = 0.0
    payload_bytes: int = 0
    payload_s: float = 0.0
    elapsed_s: float = 0.0
    failures: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)

    def add(self, done: Done) -> None:
        self.converted += 1
        self.seconds += done.seconds
        self.payload_bytes += done.payload_bytes
        self.payload_s += done.payload_s
        self.warnings += done.warnings

    @property
    def figures(self) -> str:
        """How much sound, at which rate, how fast."""
        if not self.seconds:
            return "0.00 s of sound"
        kbps = self.payload_bytes * 8 / max(self.payload_s, 1e-9) / 1e3
        return (
            f"{self.seconds:.2f} s of sound, {kbps:.2f} kbit/s payload, "
            f"{self.seconds / self.elapsed_s:.0f} x real time"
        )


def cores() -> int:
    """How many this process may use."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return (os.cpu_count() or 1) if affinity is None else len(affinity(0))


def convert_one(job: Job, convert: Conversion, codec: CodecOptions) -> Outcome:
    """Shows progress. Raises StreamcodecError, OSError."""
    outcome = Outcome()
    model = _load(codec)
    with _bar(BAR_STEPS, outcome) as bar:
        shown = 0

        def progress(share: float, seconds: float) -> None:
            nonlocal shown
            outcome.seconds = seconds
            step = round(share * BAR_STEPS)
            bar.update(step - shown)
            shown = step

        done = _run(job, model, convert, progress)
        outcome.seconds = 0.0
        outcome.add(done)
    return outcome


def convert_all(plan: Plan, convert: Conversion, codec: CodecOptions, processes: int) -> Outcome:
    """Shows progress by bytes read. What fails is told, and the others go on. Raises ModelError and
    ConfigError where no model can be loaded.
    """
    outcome = Outcome(failures=list(plan.failures))
    if not plan.jobs:
        return outcome
    _load(codec)  # what is wrong with it is said here, once
    pool = ProcessPoolExecutor(
        min(processes, len(plan.jobs)),
        multiprocessing.get_context("spawn"),  # a fork may copy a lock that a thread holds
        _begin,
        (convert, codec),
    )
    try:
        with _interrupts_blocked():
            futures = {pool.submit(_run_in_pool, job): job for job in plan.jobs}
        with _bar(sum(job.size for job in plan.jobs), outcome) as bar:
            for future in as_completed(futures):
                job, error = futures[future], future.exception()
                if isinstance(error, BrokenProcessPool):
                    raise StreamcodecError(
                        "a process that converts files was killed: is there memory for all? "
                        f"Take fewer than --jobs {processes}"
                    ) from error
                if error is not None:
                    said = str(error)
                    named = str(job.source) in said
                    outcome.failures.append(said if named else f"{job.source}: {said}")
                else:
                    outcome.add(future.result())
                bar.update(job.size)
    except (SystemExit, KeyboardInterrupt):  # a signal: what is half written is of no use
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return outcome


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A Ctrl-C inside comes at the end. Processes that are started inside never get any: until
    `_begin` runs in them, each would print where it was.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _bar(length: int, outcome: Outcome) -> Iterator[Any]:
    """A progress bar on a terminal, with how many times faster than real time it goes."""
    began_s = time.monotonic()

    def speed(_: object) -> str:
        outcome.elapsed_s = time.monotonic() - began_s
        return f"{outcome.seconds / max(outcome.elapsed_s, 1e-9):.0f} x real time"

    with click.progressbar(
        length=length, file=sys.stderr, item_show_func=speed, hidden=not sys.stderr.isatty()
    ) as bar:
        yield bar
    outcome.elapsed_s = max(time.monotonic() - began_s, 1e-9)


def _load(codec: CodecOptions) -> CodecModel:
    return load_model(codec.model, codec.codec_device, codec.engine)


def _run(job: Job, model: CodecModel, convert: Conversion, progress: Progress) -> Done:
    """An end in the middle leaves no target that looks like a whole one."""
    job.target.parent.mkdir(parents=True, exist_ok=True)
    with (
        reading_whole(job.source) as source,
        writing_whole(job.target, convert.ending) as target,
    ):
        return convert(model, source, target, input_name(job.source), progress)


# What a process of the pool keeps from its beginning.
_kept: list[tuple[CodecModel, Conversion]] = []


def _begin(convert: Conversion, codec: CodecOptions) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    model = _load(codec)
    model.engine.enter_thread()
    _kept.append((model, convert))


def _run_in_pool(job: Job) -> Done:
    model, convert = _kept[0]
    try:
        with signals_unwind():
            return _run(job, model, convert, lambda share, seconds: None)
    except SystemExit as end:  # the pool would take it for a failed job, and go on with the next
        os._exit(int(end.code or 0))
