"""Connections are accepted a few at a time, whatever happens to them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from relay_clients import PATIENCE_S
from streamcodec_server.accepting import Accepting, bound_sockets


class Counted(asyncio.Protocol):
    made = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        type(self).made += 1


@pytest.fixture
async def accepting() -> AsyncIterator[Accepting]:
    Counted.made = 0
    sockets = await bound_sockets(host="127.0.0.1", port=0)
    made = Accepting(sockets, Counted, backlog=256, tls=None, tls_timeout_s=1)
    yield made
    made.close()
    await made.wait_closed()


@contextlib.contextmanager
def clients(accepting: Accepting, count: int) -> Iterator[None]:
    address = accepting.sockets[0].getsockname()
    with contextlib.ExitStack() as opened:
        for _ in range(count):
            opened.enter_context(socket.create_connection(address))
        yield


async def test_others_have_their_turn_between_connections(accepting: Accepting) -> None:
    with clients(accepting, 40):
        turns = 0
        async with asyncio.timeout(PATIENCE_S):
            while Counted.made < 40:
                before = Counted.made
                await asyncio.sleep(0)
                assert Counted.made - before <= 1
                turns += 1
        assert turns >= 40


class OnceFull:
    """A listening socket of a process that may open no more files, once."""

    def __init__(self, real: socket.socket) -> None:
        self._real, self.asked = real, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def accept(self) -> tuple[socket.socket, Any]:
        self.asked += 1
        if self.asked == 1:
            raise OSError(errno.EMFILE, "too many open files")
        return self._real.accept()


async def test_without_files_it_waits_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamcodec_server.accepting.OUT_OF_FILES_S", 0.05)
    Counted.made = 0
    (real,) = await bound_sockets(host="127.0.0.1", port=0)
    full: Any = OnceFull(real)
    accepting = Accepting([full], Counted, backlog=256, tls=None, tls_timeout_s=1)
    with clients(accepting, 1):
        async with asyncio.timeout(PATIENCE_S):
            while not Counted.made:
                await asyncio.sleep(0.01)
    assert full.asked >= 2
    accepting.close()


async def test_nobody_is_accepted_once_it_is_closed(accepting: Accepting) -> None:
    address = accepting.sockets[0].getsockname()
    assert accepting.is_serving()
    accepting.close()
    assert not accepting.is_serving()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
