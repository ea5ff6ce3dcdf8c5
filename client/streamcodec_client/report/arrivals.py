"""--record-trace FILE: when packets arrived, as CSV that `streamcodec bench network --trace` can
replay.
"""

from __future__ import annotations

import csv
import io
from collections import deque
from pathlib import Path

from streamcodec.errors import MalformedPacket
from streamcodec.files import writing
from streamcodec.wire.packet import AUDIO_TYPES, parse
from streamcodec.wire.session import Message, StreamStart, Welcome

from ..clock import milliseconds
from .trace import MAX_WAITING_LINES

COLUMNS = ("stream", "sequence", "capture_ms", "arrival_ms", "packet_ms", "flags")


class ArrivalRecorder:
    """A TransportListener on the event loop; `flush` writes, and belongs in a thread that may wait
    for a disk.

    capture_ms is by the talker's clock and wraps with the 32-bit capture time of its packets;
    arrival_ms is by ours. Packets of a stream that was not announced are left out.
    """

    def __init__(self, path: Path) -> None:
        """Raises OutputError where the file cannot be written."""
        self._path = path
        with writing(path):
            self._file = path.open("w", encoding="ascii", newline="")
        self._file.write(",".join(COLUMNS) + "\n")
        self._rates: dict[int, tuple[int, int]] = {}  # sample rate in Hz, samples a packet
        self._rows: deque[tuple[int, int, float, float, float, int]] = deque(
            maxlen=MAX_WAITING_LINES
        )

    def connected(self, welcome: Welcome, connection: int) -> None:
        self._rates.clear()
        for start in welcome.streams:
            self.message(start)

    def disconnected(self, reason: str) -> None:
        """Rows of the broken connection are kept."""

    def message(self, message: Message) -> None:
        if isinstance(message, StreamStart):
            self._rates[message.stream] = message.info.sample_rate, message.info.packet_samples

    def media(self, datagram: bytes, received_ns: int) -> None:
        try:
            packet = parse(datagram)
        except MalformedPacket:
            return
        if packet.type not in AUDIO_TYPES or packet.stream not in self._rates:
            return
        rate, samples = self._rates[packet.stream]
        capture_ms, packet_ms = packet.capture_time * 1000 / rate, samples * 1000 / rate
        row = (
            packet.stream,
            packet.sequence,
            round(capture_ms, 3),
            round(milliseconds(received_ns), 3),
            packet_ms,
            int(packet.flags),
        )
        self._rows.append(row)

    def flush(self) -> None:
        rows, self._rows = self._rows, deque(maxlen=MAX_WAITING_LINES)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        with writing(self._path):
            self._file.write(text.getvalue())
            self._file.flush()

    def close(self) -> None:
        with writing(self._path), self._file:
            self.flush()
