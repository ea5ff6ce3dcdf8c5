"""Connections that fall silent, and attempts that are given up."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fakes import WAIT_S
from stand_in_relay import HELLO, Client, Forwarder, StandInRelay, StoppableOpener, standing_in
from streamcodec.live.reconnect_timing import Timing
from streamcodec_client.transport.opening import drop

SOON_SUSPECTED = Timing(ping_s=0.01, suspect_s=0.1)


@pytest.fixture
async def relay() -> AsyncIterator[StandInRelay]:
    async with standing_in(StandInRelay()) as stand_in:
        yield stand_in


@pytest.fixture
async def forwarder(relay: StandInRelay) -> AsyncIterator[Forwarder]:
    between = Forwarder(relay)
    await between.start()
    yield between
    await between.stop()


async def test_a_connection_that_hangs_is_left_for_another(
    relay: StandInRelay, forwarder: Forwarder
) -> None:
    client = Client(forwarder.url, timing=SOON_SUSPECTED)
    assert await client.diary.next() == ("connected", 1)
    await relay.received.get()
    forwarder.hang()
    assert await client.diary.next() == ("disconnected", "the connection broke")
    assert await client.diary.next() == ("connected", 2)
    assert await relay.hello() == dataclasses.replace(HELLO, resume="session")
    await client.leaves()


async def test_a_connection_that_speaks_again_is_kept(
    relay: StandInRelay, forwarder: Forwarder
) -> None:
    opener = StoppableOpener(forwarder.url)
    client = Client(forwarder.url, timing=SOON_SUSPECTED, opener=opener)
    assert await client.diary.next() == ("connected", 1)
    opener.stop()
    forwarder.hang()
    await opener.hanging.wait()
    forwarder.release()
    assert relay.connection is not None
    await relay.connection.send(b"still here")
    assert await client.diary.next() == ("media", b"still here")
    assert client.transport.connection == 1
    await client.leaves()


async def test_a_connection_that_stays_silent_is_given_up(
    relay: StandInRelay, forwarder: Forwarder
) -> None:
    opener = StoppableOpener(forwarder.url)
    timing = dataclasses.replace(SOON_SUSPECTED, dead_s=0.3)
    client = Client(forwarder.url, timing=timing, opener=opener)
    await client.diary.next()
    opener.stop()
    forwarder.hang()
    assert await client.diary.next() == ("disconnected", "the connection broke")
    assert client.transport.connection is None
    await client.leaves()


async def test_a_relay_that_accepts_and_says_nothing_is_left_for_another_try(
    relay: StandInRelay,
) -> None:
    """The path broke between the handshake and the welcome."""
    client = Client(relay.url, timing=Timing(welcome_again_s=0.05))
    assert (await client.diary.next())[0] == "connected"
    assert relay.connection is not None
    relay.silences = 2
    relay.connection.transport.abort()
    assert (await client.diary.next())[0] == "disconnected"
    # Connections without a welcome are numbered, too: media may have been sent on them.
    assert await client.diary.next() == ("connected", 4)
    assert relay.silences == 0
    await client.leaves()


async def test_a_connection_that_opens_after_its_attempt_was_cancelled_is_closed() -> None:
    begun, cancelled, aborted = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stubborn(reached: Callable[[], None]) -> Any:
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        cancelled.set()
        return SimpleNamespace(transport=SimpleNamespace(abort=aborted.set))

    client = Client("ws://nowhere:1", opener=stubborn)
    await begun.wait()
    await client.leaves()
    async with asyncio.timeout(WAIT_S):
        await cancelled.wait()
        await aborted.wait()


async def test_what_a_dropped_connection_held_is_not_repeated() -> None:
    """After a mere abort the kernel would deliver a second of old words once the network is back: a
    reset takes them away.
    """
    endings: asyncio.Queue[BaseException | bytes] = asyncio.Queue()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            endings.put_nowait(await reader.read())
        except OSError as error:
            endings.put_nowait(error)
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        opened, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, "127.0.0.1", port
        )
        drop(SimpleNamespace(transport=opened))  # type: ignore[arg-type]
        async with asyncio.timeout(WAIT_S):
            assert isinstance(await endings.get(), ConnectionResetError)
