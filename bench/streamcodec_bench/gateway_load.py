"""How many duplex clients a process of `streamcodec gateway` carries, on Linux:
`python -m streamcodec_bench.gateway_load --clients 8,16,24`.

Clients talk in pairs, a room each, so that the gateway encodes and decodes one stream for each. A
frame is late where it came more than LATE_MS after its turn, counted from the client's earliest.
Late frames are noise where other programs use the cores; CPU time is not.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources

import click
import numpy as np
import soundfile
from websockets.asyncio.client import connect

from .live_session import cpu_seconds

LATE_MS = 60.0
SETTLE_S = 3.0  # connecting, and the playout delay's first adaptation
FRAME_SAMPLES, FRAME_S = 320, 0.02


@contextmanager
def _server(*arguments: str) -> Iterator[tuple[str, int]]:
    """-> its URL and process id."""
    command = [sys.executable, "-m", "streamcodec_client", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen(  # noqa: S603 (our own command)
        command, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"ws://\S+", process.stdout.readline())
            assert found is not None, f"{arguments[0]} did not start"
            yield found[0], process.pid
        finally:
            process.terminate()


async def _client(url: str, pcm: bytes, measured: asyncio.Event) -> list[float]:
    """-> how late each frame came while `measured` was set, ms."""
    times: list[float] = []
    counts: list[int] = []
    async with connect(url, compression=None) as socket:
        step, at, count = 2 * FRAME_SAMPLES, 0, 0
        begin = time.monotonic()
        receiving = asyncio.ensure_future(socket.recv())
        while True:
            next_s = begin + at * FRAME_S
            done, _ = await asyncio.wait({receiving}, timeout=max(0, next_s - time.monotonic()))
            if done:
                if isinstance(receiving.result(), bytes):
                    count += 1
                    if measured.is_set():
                        times.append(time.monotonic())
                        counts.append(count)
                receiving = asyncio.ensure_future(socket.recv())
            if time.monotonic() >= next_s:
                first = at * step % (len(pcm) - step)
                await socket.send(pcm[first : first + step])
                at += 1
            if counts and not measured.is_set():
                receiving.cancel()
                offsets = np.array(times) - FRAME_S * np.array(counts)
                late: list[float] = (1000 * (offsets - offsets.min())).tolist()
                return late


async def _load(url: str, pid: int, clients: int, seconds: float, pcm: bytes) -> str:
    measured = asyncio.Event()
    tasks = []
    for n in range(clients):
        shift = 2 * 16_000 * (n % 10)
        talks = pcm[shift:] + pcm[:shift]
        room = f"{url}/load{n // 2}?name=client{n}"
        tasks.append(asyncio.ensure_future(_client(room, talks, measured)))
        await asyncio.sleep(0.05)
    await asyncio.sleep(SETTLE_S)
    measured.set()
    before, begin = cpu_seconds(pid), time.monotonic()
    await asyncio.sleep(seconds)
    used = (cpu_seconds(pid) - before) / (time.monotonic() - begin)
    measured.clear()
    late = np.concatenate(await asyncio.gather(*tasks))
    return (
        f"| {clients} | {100 * used:.0f} % | {100 * used / clients:.2f} % | "
        f"{np.percentile(late, 50):.0f} | {np.percentile(late, 99):.0f} | "
        f"{100 * float((late > LATE_MS).mean()):.2f} % |"
    )


@click.command()
@click.option("--clients", default="8,16,24", show_default=True, help="Comma-separated.")
@click.option("--seconds", default=10.0, show_default=True)
def gateway_load(clients: str, seconds: float) -> None:
    """How many duplex clients one process carries."""
    speech = resources.files("streamcodec_bench") / "speech" / "librispeech.flac"
    with resources.as_file(speech) as path:
        samples, _ = soundfile.read(path, dtype="int16")
    click.echo("| clients | CPU | each | frames late by p50 ms | p99 | > 60 ms |")
    click.echo("|---|---|---|---|---|---|")
    with _server("serve", "--port", "0") as (relay, _):
        options = ("--relay", relay, "--port", "0", "--jobs", "1", "--max-clients", "1000")
        with _server("gateway", *options) as (url, pid):
            for count in map(int, clients.split(",")):
                click.echo(asyncio.run(_load(url, pid, count, seconds, samples.tobytes())))


if __name__ == "__main__":
    gateway_load()
