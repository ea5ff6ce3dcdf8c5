"""`streamcodec loadtest`, the command."""

from __future__ import annotations

import contextlib
import dataclasses

import click

from streamcodec.errors import ConfigError
from streamcodec.pauses import short_pauses

from .load_clients import ABUSES, Load, event_loop
from .loadtest import HEAD, LoadReport, relay_process, run_load


@click.command()
@click.argument("url", required=False)
@click.option("--rooms", default=1, show_default=True)
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
@click.option("--json", "as_json", is_flag=True, help="A JSON line a run.")
def loadtest(
    url: str | None,
    rooms: int,
    talkers: int,
    listeners: str,
    seconds: float,
    packet_ms: int,
    payload_bytes: int,
    abuse: str,
    peer: bool,
    as_json: bool,
) -> None:
    """Talkers and listeners over real sockets, without sound: how old packets are when a listener
    reads them, how many are lost, and what the relay uses. Without a URL a relay is started on one
    core, and the clients have another.
    """
    counts = [int(part) for part in listeners.split(",")]
    kinds = ["", *ABUSES] if abuse == "all" else [abuse]
    plain = Load(rooms, talkers, 1, seconds, packet_ms, payload_bytes)
    loads = [dataclasses.replace(plain, listeners=n, abuse=k) for n in counts for k in kinds]
    if not as_json:
        click.echo(HEAD)
    if peer and url is not None:
        raise ConfigError("a peer runs on this machine: leave the URL out")
    for load in loads:
        for relay in ("ours", "bare") if peer else ("ours",):
            report = _measured(url, load, relay)
            click.echo(report.to_json() if as_json else report.line())


def _measured(url: str | None, load: Load, relay: str) -> LoadReport:
    with contextlib.ExitStack() as running:
        process = None
        if url is None:
            process = running.enter_context(relay_process(bare=relay == "bare"))
            url = process.url
        running.enter_context(short_pauses())  # of the clients: the relay's are what is measured
        runner = running.enter_context(event_loop())
        report = runner.run(run_load(url, load, process))
        return dataclasses.replace(report, relay=relay)
