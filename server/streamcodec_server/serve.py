"""`streamcodec serve`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import click

from streamcodec.errors import ConfigError
from streamcodec.listening import is_loopback, shown_url
from streamcodec.pauses import short_pauses

from .addresses import NO_ADDRESS_LIMITS, AddressLimits
from .certificate import Certificate
from .limits import RoomLimits
from .log import Log
from .pages import Page
from .proxies import Proxies
from .relay import Relay
from .settings import RelayConfig
from .tokens import Keys

DEFAULTS = RoomLimits()
FILE = click.Path(dir_okay=False, path_type=Path)


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
    "a proxy that does not name them.",
)
@click.option(
    "--proxy",
    "proxies",
    multiple=True,
    metavar="NETWORK",
    help="Address or network (10.0.0.0/8) of a proxy before the relay, which names its clients in "
    "X-Forwarded-For; may be repeated.  [default: none]",
)
@click.option(
    "--keys",
    type=FILE,
    metavar="FILE",
    help="Asks for tokens that these keys have signed: TOML, see `streamcodec token`.",
)
@click.option("--cert", type=FILE, metavar="FILE", help="Speaks TLS: the certificate chain (PEM).")
@click.option("--key", type=FILE, metavar="FILE", help="And its private key (PEM).")
@click.option(
    "--open",
    "open_to_all",
    is_flag=True,
    help="Without --keys, too, listen beyond this machine: whoever reaches the address may join.",
)
@click.option(
    "--web",
    is_flag=True,
    help="Also serve the page with which browsers join. They let it use the microphone only over "
    "https, or on this machine.",
)
@click.option(
    "--model",
    help="Of that page: name of a shipped model, or a folder with one.  [default: the shipped one]",
)
@click.option(
    "--list-rooms",
    is_flag=True,
    help="On that page, show everybody which rooms are open and how many people are there; with "
    "--keys, the rooms that one's token allows.  [default: no room is named]",
)
@click.option(
    "--nats",
    metavar="URL",
    help="Message bus (nats://HOST:PORT) over which rooms span all relays that share it.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65_535),
    help="Serve /metrics for Prometheus there.  [default: nowhere]",
)
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="And on this address.")
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
    proxies: tuple[str, ...],
    keys: Path | None,
    cert: Path | None,
    key: Path | None,
    open_to_all: bool,
    web: bool,
    model: str | None,
    list_rooms: bool,
    nats: str | None,
    metrics_port: int | None,
    metrics_host: str,
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
    if keys is None and not open_to_all and not is_loopback(host):
        raise ConfigError(
            f"whoever reaches {host} could join: give --keys, so that they need a token, or --open"
        )
    if (cert is None) != (key is None):
        raise ConfigError("TLS needs both --cert and --key")
    if list_rooms and not web:
        raise ConfigError("--list-rooms is for the page that --web serves: give --web, too")
    config = RelayConfig(
        host,
        port,
        limits,
        frozenset(origins),
        None if keys is None else Keys(keys),
        None if cert is None or key is None else Certificate(cert, key),
        Proxies(proxies),
        nats,
        _page(model, list_rooms) if web else None,
    )
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(config, metrics_host, metrics_port, as_json))


async def _serve(
    config: RelayConfig, metrics_host: str, metrics_port: int | None, as_json: bool
) -> None:
    log = Log(as_json=as_json)
    relay = Relay(config, tell=log.tell)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stop.set)
    async with contextlib.AsyncExitStack() as running:
        running.enter_context(short_pauses())
        running.callback(log.close)
        if metrics_port is not None:
            port = running.enter_context(_metrics_at(metrics_host, metrics_port, relay))
            log.tell("metrics", f"metrics on http://{metrics_host}:{port}/metrics", port=port)
        if config.nats is not None:
            await running.enter_async_context(_spanning(relay, config.nats))
        server = await running.enter_async_context(relay.running())
        bound = next(iter(server.sockets)).getsockname()[1]
        url, note = shown_url(config.host, bound, tls=config.certificate is not None)
        link = {} if config.page is None else {"page": f"http{url.removeprefix('ws')}/"}
        log.tell("listening", f"relay listening on {url}{note}", url=url, host=config.host, **link)
        if link and not as_json:
            log.tell("page", f"page on {link['page']}{_page_note(config)}")
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await stop.wait()
            if as_json:
                log.tell("health", "", **relay.health())


def _page_note(config: RelayConfig) -> str:
    """What its link alone does not say."""
    if config.certificate is not None or is_loopback(config.host):
        return ""
    return (
        " for browsers of this machine; those of others want https: give --cert and --key, or put "
        "a proxy with TLS before the relay"
    )


def _page(model: str | None, list_rooms: bool) -> Page:
    """Its codec is packed quickly now, and as small as can be meanwhile. Raises ConfigError,
    ModelError.
    """
    try:
        from streamcodec.coding.page_codec import page_codec
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--web needs {error.name}: install it with pip install 'streamcodec[codec]'"
        ) from error
    codec = page_codec(model)
    page = Page.load(codec.files, lists_rooms=list_rooms)

    def shrink() -> None:
        page.replace(codec.smallest().files)

    # gzip holds no lock of the interpreter, and a relay that ends meanwhile does not wait for it.
    threading.Thread(target=shrink, name="gzip", daemon=True).start()
    return page


def _spanning(relay: Relay, url: str) -> contextlib.AbstractAsyncContextManager[None]:
    try:
        from .spans import spans
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--nats needs {error.name}: install it with pip install 'streamcodec[relay]'"
        ) from error
    return spans(relay, url)


def _metrics_at(host: str, port: int, relay: Relay) -> contextlib.AbstractContextManager[int]:
    try:
        from .metrics import metrics_at
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"metrics need {error.name}: install it with pip install 'streamcodec[relay]'"
        ) from error
    return metrics_at(host, port, relay)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop, if it is installed: a core then serves about twice as many listeners."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
