"""A thread for work that would block the event loop for milliseconds: encoding and decoding."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

STOP_TIMEOUT_S = 2.0


async def run_worker(name: str, work: Callable[[], None], stop: Callable[[], None]) -> None:
    """Runs `work` in a thread of its own, called `name`, and waits for it. When cancelled it calls
    `stop` and waits up to STOP_TIMEOUT_S for `work` to return. Raises what `work` raises.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix=name)
    future = asyncio.get_running_loop().run_in_executor(pool, work)
    try:
        await asyncio.shield(future)
    except asyncio.CancelledError:
        stop()
        await asyncio.wait({future}, timeout=STOP_TIMEOUT_S)
        raise
    finally:
        pool.shutdown(wait=False)
