"""`streamcodec serve`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable

import click

from streamcodec.listening import shown_url

from .addresses import NO_ADDRESS_LIMITS, AddressLimits
from .log import Log
from .relay import Relay, RelayConfig
from .rooms import RoomLimits

DEFAULTS = RoomLimits()


@click.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0 for all of IPv4, :: for all of IPv4 and IPv6.",
)
@click.option("--port", default=8765, show_default=True, help="0 takes a free one and prints it.")
@click.option(
    "--max-queue-ms",
    default=DEFAULTS.max_queue_ms,
    show_default=True,
    help="Media older than this is dropped for a slow listener.",
)
@click.option(
    "--max-talkers", default=DEFAULTS.max_talkers, show_default=True, help="In each room."
)
@click.option(
    "--rooms",
    help="The only rooms, comma-separated.  [default: the first member of a room creates it]",
)
@click.option(
    "--origin",
    "origins",
    multiple=True,
    metavar="URL",
    help="A web page's origin (https://example.org) whose scripts may connect; may be repeated.  "
    "[default: none]",
)
@click.option(
    "--max-connections",
    default=DEFAULTS.addresses.connections,
    show_default=True,
    help="Of one address at once.",
)
@click.option(
    "--address-limits/--no-address-limits",
    default=True,
    show_default=True,
    help="Whether what one address may do is limited; not where all clients share one, as behind "
    "a proxy.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON lines: where it listens, and what /healthz says once a second.",
)
def serve(
    host: str,
    port: int,
    max_queue_ms: float,
    max_talkers: int,
    rooms: str | None,
    origins: tuple[str, ...],
    max_connections: int,
    address_limits: bool,
    as_json: bool,
) -> None:
    """Run a relay, which passes on what is said in its rooms. It needs no PyTorch and never decodes
    audio."""
    fixed = (
        frozenset(r.strip() for r in rooms.split(",") if r.strip()) if rooms is not None else None
    )
    addresses = (
        AddressLimits(connections=max_connections, connects_at_once=max_connections)
        if address_limits
        else NO_ADDRESS_LIMITS
    )
    limits = RoomLimits(
        max_queue_ms=max_queue_ms, max_talkers=max_talkers, rooms=fixed, addresses=addresses
    )
    config = RelayConfig(host, port, limits, frozenset(origins))
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(config, as_json))


async def _serve(config: RelayConfig, as_json: bool) -> None:
    log = Log(as_json=as_json)
    relay = Relay(config)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stop.set)
    async with relay.running() as server:
        url, note = shown_url(config.host, next(iter(server.sockets)).getsockname()[1])
        log.tell("listening", f"relay listening on {url}{note}", url=url, host=config.host)
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await stop.wait()
            if as_json:
                log.tell("health", "", **relay.health())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop, if it is installed: a core then serves about twice as many listeners."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
