"""The message bus between relays: NATS core, which keeps nothing and sends nothing again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from streamcodec.errors import ConfigError

PREFIX = "streamcodec."
STALE_S = 0.2  # what has waited longer to be published is dropped: sound that old is of no use
MOST_PENDING = 4_096  # messages of a room that wait to be taken; beyond them they are dropped
CONNECT_S = 5.0
RECONNECT_WAIT_S = 0.2
PING_S, UNANSWERED_PINGS = 1, 2  # a server that is gone without a word is noticed within 3 s
Received = Callable[[str, bytes], None]
Say = Callable[[str], None]


class NatsBus:
    """A Bus of `spanning`. Use `nats_bus`."""

    def __init__(self, received: Received) -> None:
        """received: takes topic and data of what others have published."""
        self._received = received
        self._client = Client()
        self._outgoing: deque[tuple[float, str, bytes]] = deque()
        self._wake = asyncio.Event()
        self._wanted: set[str] = set()  # topics
        self._followed: dict[str, Subscription] = {}
        self.dropped = 0

    async def open(self, url: str, say: Say) -> None:
        """Raises ConfigError where no server answers."""

        async def disconnected() -> None:
            say("the message bus is gone: rooms do not reach other relays")

        async def reconnected() -> None:
            say("the message bus is back")

        async def failed(error: Exception) -> None:
            """Of failed attempts to reconnect, `disconnected` has told."""
            if not isinstance(error, NatsError | OSError):
                say(f"what came over the message bus could not be taken: {error!r}")

        try:
            async with asyncio.timeout(CONNECT_S):
                await self._client.connect(
                    url,
                    no_echo=True,
                    allow_reconnect=True,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]
                    ping_interval=PING_S,
                    max_outstanding_pings=UNANSWERED_PINGS,
                    disconnected_cb=disconnected,
                    reconnected_cb=reconnected,
                    error_cb=failed,
                )
        except (OSError, TimeoutError, NatsError, ValueError) as error:
            await self._client.close()
            reason = str(error) or type(error).__name__
            raise ConfigError(f"no message bus at {_shown(url)}: {reason}") from error

    def publish(self, topic: str, data: bytes) -> None:
        if self._client.is_connected:  # else it would all be sent later, in one burst
            self._outgoing.append((time.monotonic(), topic, data))
            self._wake.set()

    def follow(self, topic: str) -> None:
        self._wanted.add(topic)
        self._settle_later(topic)

    def unfollow(self, topic: str) -> None:
        self._wanted.discard(topic)
        self._settle_later(topic)

    def _settle_later(self, topic: str) -> None:
        """In order with what is published: who asks must hear the answers."""
        self._outgoing.append((time.monotonic(), topic, b""))
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._outgoing:
                since, topic, data = self._outgoing.popleft()
                with contextlib.suppress(NatsError, OSError):
                    if not data:
                        await self._settle(topic)
                    elif time.monotonic() - since > STALE_S:
                        self.dropped += 1
                    else:
                        await self._client.publish(PREFIX + topic, data)

    async def close(self) -> None:
        with contextlib.suppress(NatsError, OSError, TimeoutError):
            await self._client.close()

    async def _settle(self, topic: str) -> None:
        """Follows it from now on, or does not, as is wanted."""
        wanted, subscription = topic in self._wanted, self._followed.get(topic)
        if wanted and subscription is None:
            self._followed[topic] = await self._client.subscribe(
                PREFIX + topic, cb=self._take, pending_msgs_limit=MOST_PENDING
            )
        elif not wanted and subscription is not None:
            del self._followed[topic]
            await subscription.unsubscribe()

    async def _take(self, message: Msg) -> None:
        self._received(message.subject.removeprefix(PREFIX), message.data)


@contextlib.asynccontextmanager
async def nats_bus(url: str, received: Received, say: Say) -> AsyncIterator[NatsBus]:
    """Connected. say: is told when the server goes and comes back. Raises ConfigError."""
    bus = NatsBus(received)
    await bus.open(url, say)
    running = asyncio.create_task(bus.run())
    try:
        yield bus
    finally:
        running.cancel()
        await bus.close()


def _shown(url: str) -> str:
    """Without name and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
