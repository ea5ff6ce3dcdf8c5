"""--trace FILE: one JSON object a line and packet, all times from the monotonic clock in ns."""

from __future__ import annotations

import json
import threading
from collections import deque
from pathlib import Path
from typing import TextIO

from streamcodec.errors import ConfigError

# ten minutes at 100 packets/s, should a disk hang: then the oldest are lost
MAX_WAITING_LINES = 60_000
Value = int | float | str | bool | None


class Trace:
    """`add` may be called from any thread and only remembers; `flush` writes, and belongs in a
    thread that may wait for a disk.
    """

    def __init__(self, path: Path) -> None:
        """Raises ConfigError where the file cannot be written."""
        try:
            self._file: TextIO = path.open("w", encoding="ascii")
        except OSError as error:
            raise ConfigError(f"cannot write the trace {path}: {error.strerror}") from error
        self._lock = threading.Lock()
        self._lines: deque[dict[str, Value]] = deque(maxlen=MAX_WAITING_LINES)

    def add(self, line: dict[str, Value]) -> None:
        with self._lock:
            self._lines.append(line)

    def flush(self) -> None:
        with self._lock:
            lines = list(self._lines)
            self._lines.clear()
        self._file.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        self._file.flush()

    def close(self) -> None:
        self.flush()
        self._file.close()
