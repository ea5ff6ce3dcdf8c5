"""The relay's clock."""

from __future__ import annotations

import time


def monotonic_ms() -> float:
    """The machine's monotonic clock."""
    return time.monotonic() * 1000
