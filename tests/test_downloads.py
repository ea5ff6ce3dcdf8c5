"""Megabytes over HTTP beside live voice: they leave in pieces and in turns, and wait nowhere."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from certificates import make_certificate
from relay_clients import INFO, PATIENCE_S, listeners, member, next_media, relay
from room_members import media
from stand_in_page import WEIGHTS_BYTES, path_of, stand_in_page, weights_body
from streamcodec.wire.session import Hello, Role
from streamcodec_server.addresses import AddressLimits
from streamcodec_server.certificate import Certificate
from streamcodec_server.connection import Connection
from streamcodec_server.download import PIECE_BYTES, Download
from streamcodec_server.limits import RoomLimits
from streamcodec_server.pages import Page
from streamcodec_server.relay import Relay
from streamcodec_server.settings import RelayConfig
from streamcodec_server.turns import Turns

TLS_BYTES = 160_000  # that asyncio and uvloop may hold below TLS, besides a piece


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return stand_in_page(tmp_path_factory.mktemp("page"))


def request(page: Page) -> bytes:
    """For the weights."""
    return f"GET {path_of(page, '.base')} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


@contextlib.asynccontextmanager
async def asking(page: Page, url: str) -> AsyncIterator[socket.socket]:
    """For the weights, and has read nothing yet."""
    host, _, port = url.removeprefix("ws://").rpartition(":")
    loop = asyncio.get_running_loop()
    with socket.socket() as tcp:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        tcp.setblocking(False)
        await loop.sock_connect(tcp, (host, int(port)))
        await loop.sock_sendall(tcp, request(page))
        yield tcp


async def stuck(running: Relay, count: int = 1) -> list[Connection]:
    """So many connections, once the kernel takes nothing more of them."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = [c for c in running.connections if c.body and c.blocked_ms is not None]
            if len(found) == count:
                return found
            await asyncio.sleep(0.01)


async def gone(running: Relay) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while running.connections:
            await asyncio.sleep(0.01)


async def rest(tcp: socket.socket) -> bytes:
    loop, read = asyncio.get_running_loop(), bytearray()
    async with asyncio.timeout(PATIENCE_S):
        while data := await loop.sock_recv(tcp, 65_536):
            read += data
    return bytes(read)


def unsent(connection: Connection) -> int:
    assert connection.transport is not None
    return connection.transport.get_write_buffer_size()


async def test_of_a_client_that_reads_nothing_one_piece_waits_until_it_is_cut_off(
    page: Page,
) -> None:
    async with relay(page=page) as (running, clock, url), asking(page, url):
        (connection,) = await stuck(running)
        assert 0 < unsent(connection) <= PIECE_BYTES
        clock.now_ms += 119_000.0
        await asyncio.sleep(0.6)
        assert len(running.connections) == 1
        clock.now_ms += 1_100.0
        await gone(running)


async def test_a_client_that_reads_slowly_gets_everything(page: Page) -> None:
    loop, read = asyncio.get_running_loop(), b""
    async with relay(page=page) as (running, clock, url), asking(page, url) as tcp:
        (connection,) = await stuck(running)
        for _ in range(3):
            clock.now_ms += 6_000.0
            await asyncio.sleep(0.6)  # the relay's watch looks
            async with asyncio.timeout(PATIENCE_S):
                while connection.blocked_ms != clock.now_ms:
                    read += await loop.sock_recv(tcp, 65_536)
                    await stuck(running)
            assert unsent(connection) <= PIECE_BYTES
        head, _, body = (read + await rest(tcp)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert body == weights_body(0)
        tcp.close()
        await gone(running)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("tls", [False, True])
def test_megabytes_arrive_whole_and_wait_in_pieces(
    new_loop: Callable[[], asyncio.AbstractEventLoop], tls: bool, page: Page, tmp_path: Path
) -> None:
    certificate, context = None, None
    if tls:
        folder = make_certificate(tmp_path)
        certificate = Certificate(folder / "cert.pem", folder / "key.pem")
        context = ssl.create_default_context(cafile=str(folder / "cert.pem"))

    async def download() -> None:
        async with relay(page=page, certificate=certificate) as (running, _, url):
            port = int(url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
            writer.write(request(page))
            (connection,) = await stuck(running)
            most = TLS_BYTES + PIECE_BYTES if tls else PIECE_BYTES
            assert unsent(connection) <= most
            read = bytearray()
            async with asyncio.timeout(PATIENCE_S):
                while data := await reader.read(65_536):
                    read += data
                    if connection.transport is not None:
                        assert unsent(connection) <= most
            assert bytes(read).partition(b"\r\n\r\n")[2] == weights_body(0)
            writer.close()
            await gone(running)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(download())


async def test_who_asks_and_says_at_once_that_it_says_no_more_gets_everything(page: Page) -> None:
    async with relay(page=page) as (running, _, url), asking(page, url) as tcp:
        tcp.shutdown(socket.SHUT_WR)
        assert (await rest(tcp)).partition(b"\r\n\r\n")[2] == weights_body(0)
        await gone(running)


async def test_what_a_client_sends_behind_its_request_is_not_read(page: Page) -> None:
    """It would keep the relay busy for as long as the client takes the file slowly."""
    loop = asyncio.get_running_loop()
    async with relay(page=page) as (running, _, url), asking(page, url) as tcp:
        (connection,) = await stuck(running)
        heard_ms = connection.heard_ms
        running.clock.now_ms += 1.0  # type: ignore[attr-defined]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                while True:  # until the kernel takes no more
                    await loop.sock_sendall(tcp, bytes(60_000))
        assert connection.heard_ms == heard_ms
        assert connection.unread_bytes == 0
    await gone(running)


async def test_who_goes_away_amid_a_download_is_let_go(page: Page) -> None:
    """And nothing of it waits for the garbage collector."""

    async def visit(running: Relay, url: str, amid: int) -> None:
        async with asking(page, url) as tcp:
            await stuck(running)
            for _ in range(amid):
                await asyncio.get_running_loop().sock_recv(tcp, 65_536)
        await gone(running)

    async with relay(page=page) as (running, _, url):
        await visit(running, url, 1)
        gc.collect()
        gc.disable()
        try:
            for amid in (0, 1, 50):
                await visit(running, url, amid)
            async with asyncio.timeout(PATIENCE_S):
                while any(type(kept) in (Connection, Download) for kept in gc.get_objects()):
                    await asyncio.sleep(0.01)
        finally:
            gc.enable()


async def test_downloads_count_among_the_connections_of_their_address(page: Page) -> None:
    limits = RoomLimits(addresses=AddressLimits(connections=2))
    async with relay(limits, page=page) as (running, _, url):
        async with asking(page, url), asking(page, url):
            await stuck(running, 2)
            async with asking(page, url) as third:
                assert (await rest(third)).startswith(b"HTTP/1.1 429 ")
        await gone(running)
        async with asking(page, url) as tcp:
            assert (await rest(tcp)).startswith(b"HTTP/1.1 200 ")


async def test_a_download_neither_holds_up_the_end_of_a_relay_nor_hears_of_it(page: Page) -> None:
    async with contextlib.AsyncExitStack() as ending:
        running, _, url = await ending.enter_async_context(relay(page=page))
        tcp = await ending.enter_async_context(asking(page, url))
        await stuck(running)
        reading = asyncio.ensure_future(until_reset(tcp))
        await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_S):
            await ending.aclose()
        assert b"503" not in await reading


async def until_reset(tcp: socket.socket) -> bytes:
    """Its head."""
    read = await asyncio.get_running_loop().sock_recv(tcp, 512)
    return read.partition(b"\r\n\r\n")[0]


class Taking(asyncio.Transport):
    """Takes whatever is written, and counts it."""

    def __init__(self) -> None:
        super().__init__({"socket": socket.socket()})
        self.pieces: list[int] = []
        self.shut = False

    def write(self, data: Any) -> None:
        self.pieces.append(len(data))

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.shut = True


async def test_one_piece_of_all_downloads_is_written_in_a_round_of_the_loop() -> None:
    turns, transports = Turns(), [Taking() for _ in range(5)]
    task = asyncio.create_task(turns.run())
    running = Relay(RelayConfig(port=0))
    for transport in transports:
        connection = Connection(running, PATIENCE_S, PATIENCE_S)
        connection.transport, connection.body = transport, bytes(10 * PIECE_BYTES + 1)
        Download(connection, transport, turns, PATIENCE_S).begin()
    written, rounds = 0, 0
    async with asyncio.timeout(PATIENCE_S):
        while not all(transport.shut for transport in transports):
            before = written
            await asyncio.sleep(0)
            written = sum(len(transport.pieces) for transport in transports)
            assert written - before <= 1
            counts = [len(transport.pieces) for transport in transports]
            assert max(counts) - min(counts) <= 1  # nobody waits for another to be done
            rounds += 1
    assert rounds >= 55
    for transport in transports:
        assert transport.pieces == [PIECE_BYTES] * 10 + [1]
        transport.get_extra_info("socket").close()
    task.cancel()


async def test_a_room_is_heard_beside_downloads(page: Page) -> None:
    async with (
        relay(page=page) as (running, _, url),
        member(url, Hello(Role.LISTEN, "a")) as (well, _),
        member(url, Hello(Role.TALK, "a", "Ada", INFO)) as (ada, _),
        contextlib.AsyncExitStack() as stack,
    ):
        reading = []
        for _ in range(10):
            tcp = await stack.enter_async_context(asking(page, url))
            reading.append(asyncio.ensure_future(rest(tcp)))
        for sequence in range(20):
            await ada.send(media(sequence))
            assert (await next_media(well)).sequence == sequence
        assert {len(body) > WEIGHTS_BYTES for body in await asyncio.gather(*reading)} == {True}
        assert len(listeners(running)) == 1
