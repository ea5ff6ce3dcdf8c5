"""What libraries write to standard error (ALSA, PortAudio, JACK), kept from tearing the screen."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import TextIO

MOST_LINES = 200
STANDARD_ERROR = 2


class Noise:
    """lines: the last MOST_LINES that were caught."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=MOST_LINES)

    @contextlib.contextmanager
    def caught(self) -> Iterator[TextIO]:
        """As long as the block lasts nothing that this process writes to standard error is seen,
        but for what is written to the stream that it gives, the terminal's.
        """
        sys.stderr.flush()
        terminal = os.dup(STANDARD_ERROR)
        reading, writing = os.pipe()
        os.dup2(writing, STANDARD_ERROR)
        os.close(writing)
        reader = threading.Thread(target=self._read, args=(reading,), name="noise", daemon=True)
        reader.start()
        try:
            with os.fdopen(os.dup(terminal), "w", encoding="utf-8", errors="replace") as stream:
                yield stream
        finally:
            sys.stderr.flush()
            os.dup2(terminal, STANDARD_ERROR)  # nobody can write to the pipe any more
            os.close(terminal)
            reader.join(1.0)

    def _read(self, reading: int) -> None:
        with os.fdopen(reading, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                self.lines.append(line.rstrip())
