"""`streamcodec bench`: the commands that measure what README and docs claim."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click

from .demo import measure_latency
from .options import (
    FILE,
    FOLDER,
    SPEECH,
    LossOptions,
    QualityOptions,
    SessionOptions,
    bitrate_option,
    loss_options,
    model_option,
    quality_options,
    seed_option,
    session_options,
)
from .speed_command import speed


@click.group()
def bench() -> None:
    """Measure latency and quality: what is claimed is printed by a command."""


@bench.command(short_help="One live session over loopback: losses and latency by stage.")
@session_options
def latency(session: SessionOptions) -> None:
    """One live session over loopback; prints JSON: rates, losses, latency by stage and end
    to end.
    """
    click.echo(measure_latency(session).to_json())


@bench.command(short_help="Playout buffers through seeded networks on a simulated clock.")
@seed_option
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
@model_option
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


@bench.command(short_help="Live sessions over a real, bad link.")
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
@bitrate_option
@model_option
def link(
    delay_ms: float, loss: str, outage: str, source: Path, bitrate_bps: float, model: str | None
) -> None:
    """Live sessions over a real, bad link between two network namespaces. Needs Linux and root.

    Talker and listener are on one side, the relay on the other: each packet crosses the link twice.
    Times in ms.
    """
    from .outage import TABLE_HEAD, measure, table_row

    click.echo(TABLE_HEAD)
    for share in _numbers(loss):
        for seconds in _numbers(outage):
            click.echo(
                table_row(measure(source, delay_ms, share / 100, seconds, model, bitrate_bps))
            )


@bench.command(short_help="Two `talk` with virtual sound devices: mouth to ear.")
@click.option("--seconds", type=click.FloatRange(min=5), default=40, show_default=True)
@click.option(
    "--busy",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Processes beside the call that compute without pause.",
)
@click.option("--source", type=FILE, default=SPEECH, help="Recording that both say, over and over.")
@bitrate_option
@model_option
def call(seconds: float, busy: int, source: Path, bitrate_bps: float, model: str | None) -> None:
    """Two `talk` through a relay, with virtual sound devices: mouth to ear, measured outside of
    them. Needs Linux, PulseAudio and PortAudio.
    """
    from .call import TABLE_HEAD, CallPlan, measure, table_row

    directions = measure(CallPlan(source, seconds, busy, bitrate_bps, model))
    click.echo(TABLE_HEAD)
    for direction in directions:
        click.echo(table_row(direction))


@bench.command(short_help="What lost packets cost us and libopus.")
@loss_options
def loss(options: LossOptions) -> None:
    """What lost packets cost us and libopus on the same traces. Needs the extra `quality`."""
    from . import loss as laboratory
    from . import metrics as meters
    from .codecs import opus_version
    from .content import read_clips

    judged = _chosen("metric", options.metrics, list(meters.METRICS))
    _need({"av"} | {meters.NEEDS[m] for m in judged if m in meters.NEEDS})
    plan = laboratory.LossPlan(
        _rates(options.rates), options.share / 100, options.burst_ms, judged, options.seed
    )
    codecs = laboratory.codecs_with_loss(options.model, options.redundancy)
    rows = laboratory.measure(read_clips(options.data, options.clips), codecs, plan)
    click.echo(laboratory.table(rows, judged))
    click.echo(
        f"opus: {opus_version()}, VOIP, complexity 10, VBR, 20 ms, wideband, its own concealment"
    )


@bench.command(short_help="Our codec beside its peers, at measured payload rates.")
@quality_options
def quality(options: QualityOptions) -> None:
    """Our codec through its real bitstream beside its peers, at payload rates measured in the same
    run. Needs the extra `quality`.

    Clips in subfolders count as classes of their own (say, a language each).
    """
    from . import codecs as coders
    from . import metrics as meters
    from . import quality as judge
    from . import quality_report as report
    from .content import CLASSES, derived, read_clips

    wanted = _rates(options.rates)
    chosen = _chosen("codec", options.codecs, list(coders.all_codecs(options.model)))
    judged = _chosen("metric", options.metrics, list(meters.METRICS))
    _need(
        {coders.NEEDS[c] for c in chosen if c in coders.NEEDS}
        | {meters.NEEDS[m] for m in judged if m in meters.NEEDS}
    )
    classes = _chosen("class of content", options.content, list(CLASSES))
    noise = [] if options.noise is None else read_clips(options.noise, None)
    played = derived(read_clips(options.data, options.clips), classes, noise)

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
        model=options.model,
        jobs=options.jobs or judge.default_jobs(),
        on_row=on_row,
    )
    bd = judge.bd_rates(rows, judged)
    conditions = {
        "data": str(options.data),
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
        *(f"{name}: {value}" for name, value in conditions.items()),
        "",
        report.worst_text(rows, judged[0]),
    ]
    click.echo("\n".join(notes))
    if (out := options.out) is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "quality.md").write_text("\n".join([*lines, *notes]) + "\n")
        report.write_json(out / "quality.json", rows, scores, bd, conditions)
        report.draw(out / "quality.png", rows, judged)


bench.add_command(speed)


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
    """Raises click.UsageError for modules that are not installed, before anything is measured."""
    if missing := sorted(m for m in modules if importlib.util.find_spec(m) is None):
        raise click.UsageError(
            f"these figures need {', '.join(missing)}: "
            "pip install 'streamcodec[quality]', or [peers] for all"
        )


def _chosen(what: str, asked: str, known: list[str]) -> list[str]:
    """Names out of a comma-separated list. Raises click.BadParameter for an unknown one."""
    if asked == "all":
        return known
    names = [name.strip() for name in asked.split(",")]
    for name in names:
        if name not in known:
            raise click.BadParameter(f"no {what} {name!r}: {', '.join(known)}, or all")
    return names
