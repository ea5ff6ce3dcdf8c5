"""A relay whose rooms span others, over NATS."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator

from .nats_bus import nats_bus
from .relay import Relay
from .spanning import Spanning

LOG = logging.getLogger("streamcodec.relay")
TICK_S = 0.1


@contextlib.asynccontextmanager
async def spans(relay: Relay, url: str) -> AsyncIterator[None]:
    """As long as the block lasts. Raises ConfigError where no message bus answers."""
    spanning: Spanning | None = None

    def received(topic: str, data: bytes) -> None:
        if spanning is not None:
            spanning.receive(topic, data, relay.clock())
            relay.distribute()

    async with nats_bus(url, received, LOG.warning) as bus:
        spanning = Spanning(relay.rooms, bus, secrets.token_bytes(8))
        relay.rooms.elsewhere = spanning

        async def tick() -> None:
            while True:
                spanning.tick(relay.clock())
                relay.distribute()
                await asyncio.sleep(TICK_S)

        ticking = asyncio.create_task(tick())
        try:
            yield
        finally:
            ticking.cancel()
