"""`streamcodec gateway`: one process a core, which share a port."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import multiprocessing
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.synchronize import Semaphore
from pathlib import Path

import click

from streamcodec.errors import ConfigError, StreamcodecError
from streamcodec.listening import check_address, held_port, shown_url
from streamcodec.pauses import short_pauses

from ..clock import MonotonicClock
from ..gateway.member import MemberSettings
from ..gateway.server import Gateway, GatewayConfig
from ..live.codec import Band, EncodingSettings, ModelCodec, load_codec
from ..live.process import stop_on_signals
from ..transport.opening import route_to
from .folders import cores
from .joining_options import ca_option, token_option
from .options import CodecOptions, RateOptions, codec_options, rate_options

DEFAULTS = GatewayConfig()
POLL_S = 0.1
CAN_SHARE_PORT = sys.platform == "linux"  # the only one that spreads connections over processes


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What each process needs to know. Can be pickled."""

    relay: str
    ca: Path | None
    token: str
    config: GatewayConfig
    rate: RateOptions
    codec: CodecOptions


@click.command()
@click.option("--relay", default="ws://127.0.0.1:8765", show_default=True, help="Whose rooms.")
@ca_option
@token_option
@click.option(
    "--host",
    default=DEFAULTS.host,
    show_default=True,
    help="Address to listen on; 0.0.0.0 for all of IPv4, :: for all of IPv4 and IPv6.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=DEFAULTS.port,
    show_default=True,
    help="0 takes a free one and prints it.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes.  [default: all cores; 1 on other systems than Linux]",
)
@click.option(
    "--max-clients",
    type=click.IntRange(min=1),
    default=DEFAULTS.max_clients,
    show_default=True,
    help="In each process; more are refused (503).",
)
@rate_options
@codec_options
def gateway(
    relay: str,
    ca: Path | None,
    token: str,
    host: str,
    port: int,
    jobs: int | None,
    max_clients: int,
    rate: RateOptions,
    codec: CodecOptions,
) -> None:
    """Carry raw PCM over websockets to and from coded rooms of a relay, for clients without the
    codec: ws://HOST:PORT/ROOM?name=NAME&rate=16000&role=talk|listen|both. See docs/gateway.md.

    `--band auto` is wide here: most clients are, and all share one codec.
    """
    check_address(host, port)
    route_to(relay, ca)
    _codec(codec).encoder(_encoding(rate))
    processes = jobs or (cores() if CAN_SHARE_PORT else 1)
    if processes > 1 and not CAN_SHARE_PORT:
        raise ConfigError("only Linux lets several processes share a port: give --jobs 1")
    with contextlib.ExitStack() as opened:
        if processes > 1:
            held = opened.enter_context(held_port(host, port))
            port = held.getsockname()[1]
        config = GatewayConfig(host, port, max_clients, shared_port=processes > 1)
        plan = _Plan(relay, ca, token, config, rate, codec)
        if processes == 1:
            asyncio.run(_serve(plan, lambda port: click.echo(_listening(host, port))))
        else:
            _run_processes(plan, processes)


def _codec(options: CodecOptions) -> ModelCodec:
    """Wideband unless full band is asked for: most of its clients are, and all share it."""
    band: Band = "full" if options.band == "full" else "wide"
    return load_codec(options.model, options.codec_device, options.engine, band)


def _encoding(rate: RateOptions) -> EncodingSettings:
    return EncodingSettings(
        bitrate_bps=rate.bitrate_of(1),
        quality=rate.quality,
        capped=rate.capped,
        packet_ms=rate.packet_ms,
    )


def _listening(host: str, port: int) -> str:
    url, note = shown_url(host, port)
    return f"gateway listening on {url}{note}"


async def _serve(plan: _Plan, listening: Callable[[int], None]) -> None:
    """Until a signal. `listening` is told the port."""
    codec = _codec(plan.codec)
    settings = MemberSettings(
        plan.relay, codec, _encoding(plan.rate), MonotonicClock(), plan.ca, plan.token
    )
    stop = asyncio.Event()
    with stop_on_signals(stop), short_pauses():
        async with Gateway(plan.config, settings).running() as server:
            listening(next(iter(server.sockets)).getsockname()[1])
            await stop.wait()


def _run_processes(plan: _Plan, count: int) -> None:
    """Until a signal. Raises StreamcodecError where a process ends by itself."""
    context = multiprocessing.get_context("spawn")  # a fork may copy a lock that a thread holds
    ready = context.Semaphore(0)
    processes = [context.Process(target=_process, args=(plan, ready)) for _ in range(count)]

    ending = False

    def end(*_: object) -> None:
        """Once: a second signal would kill a process that is saying goodbye."""
        nonlocal ending
        if not ending:
            ending = True
            for process in processes:
                if process.pid is not None:
                    process.terminate()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for process in processes:
            if not ending:
                process.start()
        started = [process for process in processes if process.pid is not None]
        for _ in started:
            while not ready.acquire(timeout=POLL_S) and all(p.is_alive() for p in started):
                pass
        if not ending and all(process.is_alive() for process in started):
            click.echo(_listening(plan.config.host, plan.config.port))
        wait([process.sentinel for process in started])
        broken = [] if ending else [p.exitcode for p in started if p.exitcode is not None]
    finally:
        end()
        for process in processes:
            if process.pid is not None:
                process.join()
        for number, handler in before.items():
            signal.signal(number, handler)
    if broken:
        raise StreamcodecError(f"a process of the gateway ended with status {broken[0]}")


def _process(plan: _Plan, ready: Semaphore) -> None:
    try:
        asyncio.run(_serve(plan, lambda _: ready.release()))
    except StreamcodecError as error:
        click.echo(f"streamcodec gateway: {error}", err=True)
        sys.exit(2)
