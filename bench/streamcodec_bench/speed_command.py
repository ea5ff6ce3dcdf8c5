"""`streamcodec bench speed`."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import click

import streamcodec

from .options import SPEECH
from .speed import FULL_BAND, Row

LEAST_RATIO = 20.0  # of torch's CPU time to native's, for --check


@click.command(short_help="What a packet costs on one core, beside libopus.")
@click.option(
    "--source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=SPEECH,
    help="Recording to code.",
)
@click.option("--bitrate", type=float, default=6_000, show_default=True, help="bit/s")
@click.option("--streams", default="1,8,32,128", show_default=True, help="Of the native engine.")
@click.option(
    "--seconds", type=click.FloatRange(0.1), default=4.0, show_default=True, help="A row."
)
@click.option("--model", help="Name of a shipped model, or a folder with one.")
@click.option("--check", is_flag=True, help="Fail where native is not 20 times as fast as torch.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write speed.json, speed.md and speed.png here.",
)
def speed(
    source: Path,
    bitrate: float,
    streams: str,
    seconds: float,
    model: str | None,
    check: bool,
    out: Path | None,
) -> None:
    """What a packet costs on one core: engines beside libopus (complexity 10, through PyAV, where
    it is installed), in the same run and in turn. With --check only one stream is measured.
    """
    from . import speed as laboratory

    try:
        counts = [1] if check else [int(n) for n in streams.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{streams!r}: write numbers such as 1,8,32") from error
    pcm = laboratory.read_recording(source)
    with laboratory.on_one_core():
        import torch

        torch.set_num_threads(1)
        contenders = [laboratory.codec_steps(pcm, model, "native", n, bitrate) for n in counts]
        contenders.append(laboratory.codec_steps(pcm, model, "torch", 1, bitrate))
        if streamcodec.load_model(model, "cpu", "native").high_band is not None:
            contenders.append(laboratory.full_band_steps(pcm, model, bitrate))
        if importlib.util.find_spec("av") is not None:
            contenders.append(laboratory.opus_steps(pcm, bitrate))
        rows = laboratory.measure(contenders, seconds)
        by_engine = {row.engine: row for row in reversed(rows)}
        lines = [laboratory.TABLE_HEAD]
        lines += [laboratory.table_row(row, by_engine.get("libopus")) for row in rows]
        click.echo("\n".join(lines))
        ratio = by_engine["torch"].cpu_ms / by_engine["native"].cpu_ms
        if check:
            click.echo(f"native is {ratio:.1f} times as fast as torch; wanted: {LEAST_RATIO:g}")
            if ratio < LEAST_RATIO:
                raise click.ClickException("the native engine is too slow")
            return
        served = laboratory.served_streams(pcm, model, bitrate, seconds / 2)
    starts = [laboratory.start(model, engine) for engine in ("native", "torch")]
    first = {engine: laboratory.first_packet_s(model, engine) for engine in ("native", "torch")}
    notes = [
        "",
        *_of_full_band(by_engine),
        f"native against torch, one stream: {ratio:.1f} times as fast",
        f"duplex streams on one core with p99 of a step within 20 ms: {served}",
    ]
    for s in starts:
        torch_note = "with PyTorch" if s.torch else "without PyTorch"
        notes.append(
            f"{s.engine}: first payload {s.first_payload_s:.2f} s after the process began, "
            f"{s.memory_mb:.0f} MB at most, {torch_note}; "
            f"`streamcodec send` to its first packet {first[s.engine]:.2f} s"
        )
    click.echo("\n".join(notes))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "speed.md").write_text("\n".join([*lines, *notes]) + "\n")
        (out / "speed.json").write_text(laboratory.to_json(rows, starts, served, first))
        laboratory.draw(out / "speed.png", rows)


def _of_full_band(rows: Mapping[str, Row]) -> list[str]:
    """What it costs over the core, where it was measured."""
    if FULL_BAND not in rows:
        return []
    ratio = rows[FULL_BAND].cpu_ms / rows["native"].cpu_ms
    return [f"full band costs {ratio:.2f} times the core"]
