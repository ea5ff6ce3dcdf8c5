"""`streamcodec bench`: what is claimed is measured by a command."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from .demo import SPEECH, measure_latency

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OUTPUT = click.Path(dir_okay=False, path_type=Path)


@click.group()
def bench() -> None:
    """Measure latency and quality."""


@bench.command()
@click.option("--source", type=FILE, default=SPEECH, help="Recording to send.")
@click.option("--bitrate", type=float, default=6_000, show_default=True, help="bit/s")
@click.option("--packet-ms", type=click.Choice(["20", "40", "60"]), default="20", show_default=True)
@click.option("--playout-ms", type=int, default=60, show_default=True)
@click.option("--model", help="Name of a shipped model, or a folder with one.")
def latency(source: Path, bitrate: float, packet_ms: str, playout_ms: int, model: str | None) -> None:
    """One live session over loopback; prints JSON: rates, losses, latency by stage and end to end."""
    click.echo(measure_latency(source, bitrate, int(packet_ms), playout_ms, model).to_json())


@bench.command()
@click.option("--data", type=FOLDER, required=True, help="Folder of clean speech that was not trained on.")
@click.option("--rates", default="3,6,12", show_default=True, help="kbit/s, comma-separated.")
@click.option("--model", help="Name of a shipped model, or a folder with one.")
@click.option("--peers/--no-peers", default=True, show_default=True, help="libopus beside ours (through PyAV).")
@click.option("--clips", type=click.IntRange(min=1), help="At most this many clips.")
@click.option("--jobs", type=click.IntRange(min=1), help="Worker processes.  [default: half of the cores]")
@click.option("--json", "json_path", type=OUTPUT, help="Also write the rows here.")
def quality(
    data: Path, rates: str, model: str | None, peers: bool, clips: int | None, jobs: int | None, json_path: Path | None
) -> None:
    """PESQ-WB and ESTOI at equal payload rates, beside libopus in the same run. Needs the extra `quality`."""
    try:
        import pesq  # noqa: F401

        from . import quality as judge
    except ModuleNotFoundError as error:
        raise click.UsageError(f"bench quality needs {error.name}: pip install 'streamcodec[quality]'") from error
    try:
        wanted = [float(r) * 1000 for r in rates.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{rates!r}: write kbit/s such as 3,6,12") from error

    click.echo(judge.table([]))
    rows = judge.measure(
        data,
        wanted,
        model=model,
        peers=peers,
        limit=clips,
        jobs=jobs or judge.default_jobs(),
        on_row=lambda row: click.echo(judge.table_row(row)),
    )
    if peers:
        from .peers import opus_version

        click.echo(f"opus: {opus_version()}, VOIP, complexity 10, VBR, 20 ms; RTF in CPU time of one thread")
    if json_path is not None:
        json_path.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=2) + "\n")
