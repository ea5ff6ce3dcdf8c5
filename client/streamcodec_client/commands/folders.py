"""All recordings of a folder through the codec, by processes on all cores."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import click

from streamcodec.coding.model import CodecModel, load_model
from streamcodec.errors import ConfigError, StreamcodecError

from .options import CodecOptions
from .recordings import Conversion, Done

AUDIO_ENDINGS = frozenset(
    {".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav"}
)
PARTIAL = ".partial-"  # how the name of a file begins while it is written


@dataclasses.dataclass(frozen=True)
class Job:
    """A file to convert. size: of the source, in bytes."""

    source: Path
    target: Path
    size: int

    def run(self, model: CodecModel, convert: Conversion) -> Done:
        """An end in the middle leaves no target that looks like a whole one."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        partial = self.target.with_name(PARTIAL + self.target.name)
        try:
            done = convert(model, self.source, partial)
            partial.replace(self.target)
        finally:
            partial.unlink(missing_ok=True)
        return done


@dataclasses.dataclass
class Outcome:
    """Of a folder. failures: a line each. skipped: targets that were there."""

    converted: int = 0
    skipped: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)


def cores() -> int:
    """How many this process may use."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return (os.cpu_count() or 1) if affinity is None else len(affinity(0))


def find_jobs(
    folder: Path, out: Path, endings: Iterable[str], new_ending: str, outcome: Outcome, force: bool
) -> list[Job]:
    """The files of `folder` and the folders in it that end in one of `endings`, largest first, so
    that cores become idle at the same time. Names that begin with a dot are left out. What cannot
    be converted is told to `outcome`.

    Raises ConfigError where there is none.
    """
    wanted = set(endings)
    sources = sorted(_files(folder, wanted))
    if not sources:
        raise ConfigError(f"{folder} holds no files that end in {', '.join(sorted(wanted))}")
    inputs = {source.resolve() for source in sources}
    taken: dict[Path, Path] = {}
    jobs = []
    for source in sources:
        target = (out / source.relative_to(folder)).with_suffix(new_ending)
        if target in taken:
            outcome.failures.append(f"{source}: {taken[target]} is written to {target}, too")
        elif target.resolve() in inputs:
            outcome.failures.append(f"{source}: {target} is one of the files that are read")
        elif target.exists() and not force:
            outcome.skipped += 1
        else:
            jobs.append(Job(source, target, source.stat().st_size))
        taken.setdefault(target, source)
    return sorted(jobs, key=lambda job: -job.size)


def convert_all(
    jobs: list[Job], convert: Conversion, codec: CodecOptions, processes: int, outcome: Outcome
) -> None:
    """Shows progress by bytes read. What fails is told to `outcome`, and the others go on. Raises
    ModelError and ConfigError where no model can be loaded.
    """
    _load(codec)  # what is wrong with it is said here, once
    pool = ProcessPoolExecutor(
        min(processes, len(jobs)),
        multiprocessing.get_context("spawn"),  # a fork may copy a lock that a thread holds
        _begin,
        (convert, codec),
    )
    total = sum(job.size for job in jobs)
    try:
        futures = {pool.submit(_run, job): job for job in jobs}
        with click.progressbar(length=total, file=sys.stderr) as bar:
            for future in as_completed(futures):
                job, error = futures[future], future.exception()
                if isinstance(error, BrokenProcessPool):
                    raise StreamcodecError(
                        "a process that converts files was killed: is there memory for all? "
                        f"Take fewer than --jobs {processes}"
                    ) from error
                if error is not None:
                    outcome.failures.append(f"{job.source}: {error}")
                else:
                    outcome.converted += 1
                    outcome.warnings += future.result().warnings
                bar.update(job.size)
    finally:
        pool.shutdown(cancel_futures=True)


def _files(folder: Path, endings: set[str]) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in endings and not hidden and path.is_file():
            yield path


def _load(codec: CodecOptions) -> CodecModel:
    return load_model(codec.model, codec.codec_device, codec.engine)


# What a process of the pool keeps from its beginning.
_kept: list[tuple[CodecModel, Conversion]] = []


def _begin(convert: Conversion, codec: CodecOptions) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    model = _load(codec)
    model.engine.enter_thread()
    _kept.append((model, convert))


def _run(job: Job) -> Done:
    model, convert = _kept[0]
    return job.run(model, convert)
