"""Which file is written where: from the arguments of `encode` and `decode` to a list of jobs, none
of which overwrites what somebody may still want.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from streamcodec.errors import ConfigError
from streamcodec.files import check_folders

from .options import CodecOptions, check_files
from .whole_files import STANDARD, input_name, is_stream

AUDIO_ENDINGS = frozenset(
    {".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav"}
)


@dataclasses.dataclass(frozen=True)
class Endings:
    """Of the files that a command reads in a folder; of those that it can write; and of what it
    writes where nobody says.
    """

    read: frozenset[str]
    written: tuple[str, ...]
    default: str

    def is_target(self, path: Path) -> bool:
        return is_stream(path) or path.suffix.lower() in self.written


@dataclasses.dataclass(frozen=True)
class Job:
    """A file to convert. size: of the source, in bytes."""

    source: Path
    target: Path
    size: int


@dataclasses.dataclass
class Plan:
    """What a command does. alone: one file, not a batch. skipped: targets that were there.
    failures: why others cannot be converted, a line each.
    """

    jobs: list[Job]
    alone: bool = False
    skipped: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)


def planned(
    arguments: Sequence[Path],
    out_dir: Path | None,
    endings: Endings,
    codec: CodecOptions,
    *,
    force: bool,
) -> Plan:
    """Arguments are a file and perhaps its target; a folder and perhaps the folder to write into;
    or several files. Raises ConfigError where something would be lost, or is not there.
    """
    sources, target = _split(arguments, out_dir, endings)
    if len(sources) > 1:
        _check_several(sources, endings)
    missing = [s for s in sources if s != STANDARD and not s.exists()]
    if missing:
        written = f"; what is written must end in {' or '.join(endings.written)}"
        raise ConfigError(f"no file {missing[0]}{written * (len(sources) > 1)}")
    into = out_dir or target
    if sources[0].is_dir() and len(sources) == 1:
        _check_folder(into)
        return _of_folder(sources[0], into or sources[0], endings, codec, force=force)
    if out_dir is not None:
        _check_folder(out_dir)
    if len(sources) == 1:
        return _of_file(sources[0], target, out_dir, endings, codec, force=force)
    return _of_files(sources, out_dir, endings, codec, force=force)


def _split(
    arguments: Sequence[Path], out_dir: Path | None, endings: Endings
) -> tuple[Sequence[Path], Path | None]:
    """Sources, and the target if one was given."""
    if len(arguments) != 2:
        return arguments, None
    source, last = arguments
    if source == last != STANDARD:
        raise ConfigError(
            f"{source} is given twice: TARGET must end in {' or '.join(endings.written)}"
        )
    if not (source.is_dir() or endings.is_target(last)):
        if last.is_dir():
            raise ConfigError(f"{last} is a folder, and {source} a file: give --out-dir {last}")
        return arguments, None
    if out_dir is not None:
        raise ConfigError(f"give a target, {last}, or --out-dir {out_dir}, not both")
    return [source], last


def _check_several(sources: Sequence[Path], endings: Endings) -> None:
    for source in sources:
        if source.is_dir():
            raise ConfigError(f"{source} is a folder: convert it alone, or give --out-dir {source}")
        if endings.is_target(source):
            raise ConfigError(
                f"{source} is among several files to read: for several, "
                "name a folder to write into with --out-dir"
            )


def _check_folder(path: Path | None) -> None:
    if path is not None and path.exists() and not path.is_dir():
        raise ConfigError(f"{path} is a file: name a folder to write into")


def _of_file(
    source: Path,
    target: Path | None,
    out_dir: Path | None,
    endings: Endings,
    codec: CodecOptions,
    *,
    force: bool,
) -> Plan:
    if target is None:
        if not is_stream(source) and endings.is_target(source):
            read = ", ".join(sorted(endings.read))
            raise ConfigError(f"{source} is no file to read here: give one that ends in {read}")
        target = _default_target(source, out_dir, endings)
    if target.is_dir():
        raise ConfigError(f"{target} is a folder, and {input_name(source)} a file")
    if out_dir is None:
        check_folders([("TARGET", target)])
    check_files([*codec.reads, ("SOURCE", str(source))], [("TARGET", str(target))])
    if target.is_file() and not force:
        raise ConfigError(f"{target} is there already: --force writes it anew")
    return Plan([Job(source, target, _size(source))], alone=True)


def _of_files(
    sources: Sequence[Path],
    out_dir: Path | None,
    endings: Endings,
    codec: CodecOptions,
    *,
    force: bool,
) -> Plan:
    jobs = [Job(s, _default_target(s, out_dir, endings), _size(s)) for s in sources]
    check_files(
        [*codec.reads, *((str(source), source) for source in sources)],
        [(f"the target of {job.source}", job.target) for job in jobs],
    )
    plan = Plan(_largest_first(job for job in jobs if force or not job.target.exists()))
    plan.skipped = len(jobs) - len(plan.jobs)
    return plan


def _of_folder(
    folder: Path, out: Path, endings: Endings, codec: CodecOptions, *, force: bool
) -> Plan:
    """All files in it and in the folders below. Names that begin with a dot are left out."""
    sources = sorted(_files(folder, endings.read))
    if not sources:
        raise ConfigError(f"{folder} holds no files that end in {', '.join(sorted(endings.read))}")
    inputs = {source.resolve() for source in sources}
    taken: dict[Path, Path] = {}
    plan, jobs = Plan([]), []
    for source in sources:
        target = (out / source.relative_to(folder)).with_suffix(endings.default)
        if target in taken:
            plan.failures.append(f"{source}: {taken[target]} is written to {target}, too")
        elif target.resolve() in inputs:
            plan.failures.append(f"{source}: {target} is one of the files that are read")
        elif target.exists() and not force:
            plan.skipped += 1
        else:
            jobs.append(Job(source, target, _size(source)))
        taken.setdefault(target, source)
    check_files(codec.reads, ((f"the target of {job.source}", job.target) for job in jobs))
    plan.jobs = _largest_first(jobs)
    return plan


def _default_target(source: Path, out_dir: Path | None, endings: Endings) -> Path:
    """x.wav -> x.sc beside it, or in `out_dir`; from standard input to standard output."""
    if is_stream(source):
        if out_dir is not None:
            raise ConfigError(f"{input_name(source)} has no name to take in --out-dir {out_dir}")
        return STANDARD
    return ((out_dir or source.parent) / source.name).with_suffix(endings.default)


def _largest_first(jobs: Iterable[Job]) -> list[Job]:
    """So that cores become idle at the same time."""
    return sorted(jobs, key=lambda job: -job.size)


def _size(source: Path) -> int:
    return 0 if is_stream(source) else source.stat().st_size


def _files(folder: Path, endings: frozenset[str]) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in endings and not hidden and path.is_file():
            yield path
