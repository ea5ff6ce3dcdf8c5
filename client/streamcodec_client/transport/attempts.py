"""Which of several connections comes about first, and how one is given up."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

from websockets.asyncio.client import ClientConnection

# A lost SYN is repeated after 1, 3, 7 s: another attempt beside it finds a network that is back
# sooner.
STAGGER_S, MOST_ATTEMPTS = 0.05, 40
# one that has reached a relay, which is slow to answer, is left so long alone: a crowd would make
# it slower
REACHED_S = 1.0


async def first_of(
    attempt: Callable[[Callable[[], None]], Coroutine[Any, Any, ClientConnection]],
) -> ClientConnection:
    """The first connection to come about, out of attempts begun STAGGER_S apart, REACHED_S where
    one has got through: it calls what it is given. Where none is left, or one has had all of its
    time, raises what it raised: it is the back-off's turn.
    """
    pending: set[asyncio.Task[ClientConnection]] = set()
    begun, apart_s = -math.inf, STAGGER_S

    def reached() -> None:
        nonlocal apart_s
        apart_s = REACHED_S

    try:
        while True:
            wait_s = begun + apart_s - asyncio.get_running_loop().time()
            if wait_s <= 0:
                if len(pending) < MOST_ATTEMPTS:
                    pending.add(asyncio.ensure_future(attempt(reached)))
                begun, wait_s, apart_s = asyncio.get_running_loop().time(), STAGGER_S, STAGGER_S
            done, pending = await asyncio.wait(
                pending, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
            )
            opened = [task for task in done if task.exception() is None]
            pending |= set(opened[1:])  # two at once: one is enough
            if opened:
                return opened[0].result()
            if done and (
                not pending or any(isinstance(task.exception(), TimeoutError) for task in done)
            ):
                done.pop().result()
    finally:
        # Nothing is awaited here: a cancellation that came in between would lose the one that
        # opened.
        for task in pending:
            task.add_done_callback(_discard)
            task.cancel()


def drop(socket_: ClientConnection) -> None:
    """Ends a connection and takes back what the kernel has not got through yet, which it would go
    on repeating: seconds later the relay would hear an old hello, and listeners old words.
    """
    with contextlib.suppress(OSError):  # it may have broken by itself
        raw = socket_.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    socket_.transport.abort()


def _discard(task: asyncio.Task[ClientConnection]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().transport.abort()
