"""`streamcodec bench`: what is claimed is measured by a command."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click

from streamcodec.wire.redundancy import MAX_COPIES

from .demo import SPEECH, measure_latency

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OUTPUT = click.Path(dir_okay=False, path_type=Path)


@click.group()
def bench() -> None:
    """Measure latency and quality: what is claimed is printed by a command."""


@bench.command()
@click.option("--source", type=FILE, default=SPEECH, help="Recording to send.")
@click.option("--bitrate", type=float, default=6_000, show_default=True, help="bit/s")
@click.option("--packet-ms", type=click.Choice(["20", "40", "60"]), default="20", show_default=True)
@click.option(
    "--playout-ms", default="adaptive", show_default=True, help="As of `streamcodec listen`."
)
@click.option("--model", help="Name of a shipped model, or a folder with one.")
def latency(
    source: Path, bitrate: float, packet_ms: str, playout_ms: str, model: str | None
) -> None:
    """One live session over loopback; prints JSON: rates, losses, latency by stage and end
    to end.
    """
    click.echo(measure_latency(source, bitrate, int(packet_ms), playout_ms, model).to_json())


@bench.command()
@click.option("--seed", default=0, show_default=True)
@click.option("--only", default="", metavar="TEXT", help="Scenarios whose names hold this.")
@click.option(
    "--hours",
    type=click.FloatRange(0.01, 48),
    default=1.0,
    show_default=True,
    help="Of each drift of the clocks.",
)
@click.option("--playouts", default="all", show_default=True, help="Comma-separated.")
@click.option(
    "--trace",
    "traces",
    type=FILE,
    multiple=True,
    help="Instead: a network that `listen --record-trace` saw. Repeatable.",
)
@click.option(
    "--speech",
    type=FOLDER,
    help="Folder with a recording: adds the PESQ-WB of what was played at 6 kbit/s.",
)
@click.option("--model", help="Name of a shipped model, or a folder with one.")
def network(
    seed: int,
    only: str,
    hours: float,
    playouts: str,
    traces: tuple[Path, ...],
    speech: Path | None,
    model: str | None,
) -> None:
    """Playout buffers through seeded networks on a simulated clock: the adaptive one beside a fixed
    one and NetEq's rule.

    Concealed, scaled and silent: share of the time in percent. Buffer: how long packets waited.
    Excess: delay over the last two seconds, beyond what the network took. Wander: longest delay
    less shortest. ms.
    """
    from .network import (
        PLAYOUTS,
        SCENARIOS,
        TABLE_HEAD,
        drifts,
        listen,
        read_trace,
        summarise,
        table_row,
    )

    known = [read_trace(path) for path in traces] if traces else [*SCENARIOS, *drifts(hours)]
    chosen = [s for s in known if only in s.name]
    if not chosen:
        raise click.BadParameter(f"no scenario holds {only!r}: {'; '.join(s.name for s in known)}")
    names = _chosen("playout", playouts, list(PLAYOUTS))
    talker = None
    if speech is not None:
        from .played import Speech

        _need({"pesq"})
        talker = Speech(speech, model)
    head, rule = TABLE_HEAD.split("\n")
    click.echo(TABLE_HEAD if talker is None else f"{head} PESQ-WB |\n{rule}---|")
    for scenario in chosen:
        for name in names:
            heard = listen(PLAYOUTS[name](), scenario, seed)
            row = table_row(scenario.name, name, summarise(heard, scenario))
            click.echo(row if talker is None else f"{row} {talker.pesq(heard, scenario):.2f} |")


@bench.command()
@click.option("--delay-ms", default=20.0, show_default=True, help="Of the link, each way.")
@click.option(
    "--loss",
    default="0,1,3",
    show_default=True,
    help="Percent of IP packets, each way; comma-separated, a session each.",
)
@click.option(
    "--outage",
    default="0",
    show_default=True,
    help="Seconds for which nothing passes; comma-separated, a session each.",
)
@click.option("--source", type=FILE, default=SPEECH, help="Recording to send, over and over.")
@click.option("--bitrate", type=float, default=6_000, show_default=True, help="bit/s")
@click.option("--model", help="Name of a shipped model, or a folder with one.")
def link(
    delay_ms: float, loss: str, outage: str, source: Path, bitrate: float, model: str | None
) -> None:
    """Live sessions over a real, bad link between two network namespaces. Needs Linux and root.

    Talker and listener are on one side, the relay on the other: each packet crosses the link twice.
    Times in ms.
    """
    from .outage import TABLE_HEAD, measure, table_row

    click.echo(TABLE_HEAD)
    for share in _numbers(loss):
        for seconds in _numbers(outage):
            click.echo(table_row(measure(source, delay_ms, share / 100, seconds, model, bitrate)))


@bench.command()
@click.option(
    "--data", type=FOLDER, required=True, help="Folder of clean speech that was not trained on."
)
@click.option("--rates", default="6,12", show_default=True, help="kbit/s, comma-separated.")
@click.option("--share", default=5.0, show_default=True, help="Percent of packets lost.")
@click.option(
    "--burst-ms", default=60.0, show_default=True, help="Mean length of a burst (Gilbert-Elliott)."
)
@click.option("--metrics", default="pesq,estoi", show_default=True, help="Comma-separated, or all.")
@click.option(
    "--redundancy",
    type=click.IntRange(0, MAX_COPIES),
    default=0,
    help="Ours once more, with copies of so many packets.",
)
@click.option("--clips", type=click.IntRange(min=1), help="At most this many clips.")
@click.option("--seed", default=0, show_default=True)
@click.option("--model", help="Name of a shipped model, or a folder with one.")
def loss(
    data: Path,
    rates: str,
    share: float,
    burst_ms: float,
    metrics: str,
    redundancy: int,
    clips: int | None,
    seed: int,
    model: str | None,
) -> None:
    """What lost packets cost us and libopus on the same traces. Needs the extra `quality`."""
    from . import loss as laboratory
    from . import metrics as meters
    from .codecs import opus_version
    from .content import read_clips

    judged = _chosen("metric", metrics, list(meters.METRICS))
    _need({"av"} | {meters.NEEDS[m] for m in judged if m in meters.NEEDS})
    chosen = read_clips(data, clips)
    rows = laboratory.measure(
        chosen, _rates(rates), share / 100, burst_ms, judged, model, seed, redundancy
    )
    click.echo(laboratory.table(rows, judged))
    click.echo(
        f"opus: {opus_version()}, VOIP, complexity 10, VBR, 20 ms, wideband, its own concealment"
    )


@bench.command()
@click.option(
    "--data", type=FOLDER, required=True, help="Folder of clean speech that was not trained on."
)
@click.option(
    "--rates", default="1.5,3,6,9,12,16", show_default=True, help="kbit/s, comma-separated."
)
@click.option("--model", help="Name of a shipped model, or a folder with one.")
@click.option(
    "--codecs", default="streamcodec,opus", show_default=True, help="Comma-separated, or all."
)
@click.option(
    "--metrics", default="pesq,visqol,estoi", show_default=True, help="Comma-separated, or all."
)
@click.option(
    "--content",
    default="clean",
    show_default=True,
    help="Classes of content made from the clips, comma-separated, or all.",
)
@click.option("--noise", type=FOLDER, help="Folder of noise, for noisy speech.")
@click.option("--clips", type=click.IntRange(min=1), help="At most this many clips.")
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Worker processes.  [default: half of the cores]"
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write quality.json, quality.md and quality.png here.",
)
def quality(
    data: Path,
    rates: str,
    model: str | None,
    codecs: str,
    metrics: str,
    content: str,
    noise: Path | None,
    clips: int | None,
    jobs: int | None,
    out: Path | None,
) -> None:
    """Our codec through its real bitstream beside its peers, at payload rates measured in the same
    run. Needs the extra `quality`.

    Clips in subfolders count as classes of their own (say, a language each).
    """
    from . import codecs as coders
    from . import metrics as meters
    from . import quality as judge
    from . import quality_report as report
    from .content import CLASSES, derived, read_clips

    wanted = _rates(rates)
    chosen = _chosen("codec", codecs, list(coders.all_codecs(model)))
    judged = _chosen("metric", metrics, list(meters.METRICS))
    _need(
        {coders.NEEDS[c] for c in chosen if c in coders.NEEDS}
        | {meters.NEEDS[m] for m in judged if m in meters.NEEDS}
    )
    classes = _chosen("class of content", content, list(CLASSES))
    played = derived(read_clips(data, clips), classes, read_clips(noise, None) if noise else [])

    lines = [report.table_head(judged)]
    click.echo(lines[0])

    def on_row(row: judge.Row) -> None:
        lines.append(report.table_row(row))
        click.echo(lines[-1])

    rows, scores = judge.measure(
        played,
        wanted,
        codecs=chosen,
        metrics=judged,
        model=model,
        jobs=jobs or judge.default_jobs(),
        on_row=on_row,
    )
    bd = judge.bd_rates(rows, judged)
    conditions = {
        "data": str(data),
        "opus": "not measured"
        if "opus" not in chosen
        else f"{coders.opus_version()}, VOIP, complexity 10, VBR, 20 ms, wideband",
        "alignment": "cross-correlation, one delay a clip",
        "interval": "95 %, normal, of the mean over clips",
        "rtf": "CPU time of one thread",
    }
    notes = [
        "",
        report.bd_text(bd),
        *(f"{name}: {said}" for name, said in conditions.items()),
        "",
        report.worst_text(rows, judged[0]),
    ]
    click.echo("\n".join(notes))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "quality.md").write_text("\n".join([*lines, *notes]) + "\n")
        report.write_json(out / "quality.json", rows, scores, bd, conditions)
        report.draw(out / "quality.png", rows, judged)


def _rates(text: str) -> list[float]:
    """kbit/s, comma-separated -> bit/s. Raises click.BadParameter."""
    return [1000 * rate for rate in _numbers(text, "kbit/s such as 3,6,12")]


def _numbers(text: str, wanted: str = "numbers such as 0,1,3") -> list[float]:
    """Comma-separated. Raises click.BadParameter."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: write {wanted}") from error


def _need(modules: set[str]) -> None:
    """Raises click.UsageError for what is not installed, before an hour is spent."""
    if missing := sorted(m for m in modules if importlib.util.find_spec(m) is None):
        raise click.UsageError(
            f"these figures need {', '.join(missing)}: pip install 'streamcodec[quality]', or [peers] for all"
        )


def _chosen(what: str, asked: str, known: list[str]) -> list[str]:
    """Names out of a comma-separated list. Raises click.BadParameter for one that nobody knows."""
    if asked == "all":
        return known
    names = [name.strip() for name in asked.split(",")]
    for name in names:
        if name not in known:
            raise click.BadParameter(f"no {what} {name!r}: {', '.join(known)}, or all")
    return names
