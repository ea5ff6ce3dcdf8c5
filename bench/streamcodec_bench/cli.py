"""`streamcodec bench`: the commands that measure what README and docs claim."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from .choices import chosen_of, need, numbers_of, rates_of
from .demo import measure_latency
from .formats import MONO
from .options import (
    FILE,
    FOLDER,
    SPEECH,
    LossOptions,
    SessionOptions,
    bitrate_option,
    loss_options,
    model_option,
    seed_option,
    session_options,
)
from .quality_command import quality
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
    names = chosen_of("playout", playouts, list(PLAYOUTS))
    talker = None
    if speech is not None:
        from .played import Speech

        need({"pesq"})
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
    for share in numbers_of(loss):
        for seconds in numbers_of(outage):
            click.echo(
                table_row(measure(source, delay_ms, share / 100, seconds, model, bitrate_bps))
            )


def call_options(command: Callable[..., None]) -> Callable[..., None]:
    """How two people talk with virtual sound devices."""
    options = (
        click.option("--seconds", type=click.FloatRange(min=5), default=40, show_default=True),
        click.option(
            "--busy",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Processes beside the call that compute without pause.",
        ),
        click.option(
            "--source", type=FILE, default=SPEECH, help="Recording that both say, over and over."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@bench.command(short_help="Two `talk` with virtual sound devices: mouth to ear.")
@call_options
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


@bench.command(short_help="The page in Chromium and a `talk`: first sound, mouth to ear.")
@call_options
@click.option(
    "--pictures",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for pictures of the page, on a desk and on a phone.",
)
def page(seconds: float, busy: int, source: Path, pictures: Path | None) -> None:
    """The page in Chromium and a `talk`, through a relay that serves it, with virtual sound
    devices. Needs Linux, PulseAudio, PortAudio, Chromium and the extra `page`.
    """
    from .page import TABLE_HEAD, PagePlan, measure, table_row

    figures = measure(PagePlan(source, seconds, busy, pictures))
    click.echo(TABLE_HEAD)
    click.echo(table_row(figures))


@bench.command(short_help="What lost packets cost us and libopus.")
@loss_options
def loss(options: LossOptions) -> None:
    """What lost packets cost us and libopus on the same traces. Needs the extra `quality`."""
    from . import loss as laboratory
    from . import metrics as meters
    from .codecs import opus_version
    from .content import read_clips

    judged = chosen_of("metric", options.metrics, meters.metrics_for(MONO))
    need({"av"} | meters.needs_of(judged))
    plan = laboratory.LossPlan(
        rates_of(options.rates), options.share / 100, options.burst_ms, judged, options.seed
    )
    codecs = laboratory.codecs_with_loss(options.model, options.redundancy)
    rows = laboratory.measure(read_clips(options.data, options.clips), codecs, plan)
    click.echo(laboratory.table(rows, judged))
    click.echo(
        f"opus: {opus_version()}, VOIP, complexity 10, VBR, 20 ms, wideband, its own concealment"
    )


bench.add_command(quality)
bench.add_command(speed)
