"""`streamcodec loadtest`, the command."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

import click

from streamcodec.errors import ConfigError
from streamcodec.pauses import short_pauses

from .choices import need, numbers_of
from .load_clients import ABUSES, Load, event_loop
from .loadtest import HEAD, LoadReport, relay_process, run_load

COUNTS = "numbers such as 100,500"


@click.command()
@click.argument("url", required=False)
@click.option("--rooms", default="1", show_default=True, help="100,200: runs.")
@click.option("--talkers", default=1, show_default=True, help="Of each room.")
@click.option("--listeners", default="100", show_default=True, help="Of each room; 100,500: runs.")
@click.option("--seconds", default=10.0, show_default=True, help="That are counted.")
@click.option("--packet-ms", default=20, show_default=True)
@click.option("--payload-bytes", default=15, show_default=True, help="Of each packet.")
@click.option(
    "--abuse",
    default="",
    metavar="KIND",
    help=f"Beside it, in a room of 100 listeners: {', '.join(ABUSES)}, or all, one after another.",
)
@click.option(
    "--peer",
    is_flag=True,
    help="Each load also on the least that passes frames on: what this machine can carry at all.",
)
@click.option("--windows", default=1, show_default=True, help="Of --seconds, one after another.")
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="PNG of the ages over listeners or rooms; or over time, with --windows.",
)
@click.option("--json", "as_json", is_flag=True, help="A JSON line a run.")
def loadtest(
    url: str | None,
    rooms: str,
    talkers: int,
    listeners: str,
    seconds: float,
    packet_ms: int,
    payload_bytes: int,
    abuse: str,
    peer: bool,
    windows: int,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Talkers and listeners over real sockets, without sound: how old packets are when a listener
    reads them, how many are lost, and what the relay uses. Without a URL a relay is started on one
    core, and the clients have another.
    """
    plain = Load(1, talkers, 1, seconds, packet_ms, payload_bytes)
    loads = [
        dataclasses.replace(plain, rooms=r, listeners=n, abuse=kind)
        for r in map(int, numbers_of(rooms, COUNTS))
        for n in map(int, numbers_of(listeners, COUNTS))
        for kind in (["", *ABUSES] if abuse == "all" else [abuse])
    ]
    if not as_json:
        click.echo(HEAD)
    if peer and url is not None:
        raise ConfigError("a peer runs on this machine: leave the URL out")
    if windows < 1:
        raise ConfigError(f"windows must be at least 1, got {windows}")
    if picture is not None:
        need({"matplotlib"})
    reports: list[LoadReport] = []

    def show(report: LoadReport) -> None:
        reports.append(report)
        click.echo(report.to_json() if as_json else report.line())

    for load in loads:
        for relay in ("ours", "bare") if peer else ("ours",):
            _measure(url, load, relay, windows, show)
    if picture is not None:
        from .load_picture import draw_load

        draw_load(picture, reports)


def _measure(
    url: str | None, load: Load, relay: str, windows: int, show: Callable[[LoadReport], None]
) -> None:
    with contextlib.ExitStack() as running:
        process = None
        if url is None:
            process = running.enter_context(relay_process(bare=relay == "bare"))
            url = process.url
        running.enter_context(short_pauses())  # of the clients: the relay's are what is measured
        runner = running.enter_context(event_loop())

        def named(report: LoadReport) -> None:
            show(dataclasses.replace(report, relay=relay))

        runner.run(run_load(url, load, process, windows, named))
