"""What a live session shows each second: a status line on stderr, or a JSON line on stdout."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import click

from streamcodec.terminal import fitted
from streamcodec.wire.overhead import TCP_IP_BYTES, TLS_BYTES

from ..clock import Clock
from .statistics import ListenerReport, ReceiverStatistics, SenderStatistics, StreamStatistics

# A frame of a websocket, and our header, take 6 to 20 bytes: streamcodec.wire.overhead.
LEAST_EXTRA, MOST_EXTRA = TCP_IP_BYTES + 6, TCP_IP_BYTES + TLS_BYTES + 20
WIRE_NOTE = (
    f"payload is the voice itself, wire what the network carries: {LEAST_EXTRA} to {MOST_EXTRA} "
    "bytes more for each packet"
)


class Reporter:
    """Turns statistics into lines of text or JSON. Rates are those since the last line; those of
    the summary, of the whole session.
    """

    interval_s = 1.0

    def __init__(self, clock: Clock, *, as_json: bool, quiet: bool = False) -> None:
        self._clock, self._as_json, self._quiet = clock, as_json, quiet
        self._began_ns = self._last_ns = clock.now_ns()
        # (payload, wire) bytes at the last line
        self._sent_before = self._received_before = (0, 0)
        self._line_open = False  # the cursor stands behind a status line

    def begin(self, member: object, stop: object) -> None:
        """Lines need nothing of a session but what `second` gets."""

    def listening(self, names: Sequence[str], count: int) -> None:
        """Lines do not say it."""

    def connection(self, state: str) -> None:
        """Lines say it with `warning`."""

    def trouble(self, text: str) -> None:
        """Said when it begins."""
        if text:
            self.warning(f"{text}; choose one with --device, or in the system's sound settings")

    def notice(self, text: str) -> None:
        """News that --quiet leaves out."""
        if not self._quiet:
            self.warning(text)

    def warning(self, text: str) -> None:
        """What the user must know, also with --quiet."""
        self.close_line()
        click.echo(fitted(text, sys.stderr), err=True)

    def second(
        self,
        connected: bool,
        sent: SenderStatistics | None,
        heard: ReceiverStatistics | None,
        rtt_ms: float | None = None,
    ) -> None:
        """The line of this second. `rtt_ms`: round trip to the relay, where it is known."""
        now_ns = self._clock.now_ns()
        seconds = (now_ns - self._last_ns) / 1e9
        self._last_ns = now_ns
        report: dict[str, Any] = {
            "type": "statistics",
            "time_s": self._elapsed_s,
            "connected": connected,
            "rtt_ms": rtt_ms,
        }
        parts = [
            "" if connected else "no connection",
            f"round trip {rtt_ms:.0f} ms" if connected and rtt_ms is not None else "",
        ]
        if sent is not None:
            rates = _rates(sent, self._sent_before, seconds)
            self._sent_before = (sent.payload_bytes, sent.wire_bytes)
            report["send"] = dataclasses.asdict(sent) | rates
            parts.append(_sent_text(sent, rates))
        if heard is not None:
            rates = _rates(heard, self._received_before, seconds)
            self._received_before = (heard.payload_bytes, heard.wire_bytes)
            report["receive"] = dataclasses.asdict(heard) | rates
            parts.append(_received_text(heard, rates))
        if self._as_json:
            click.echo(json.dumps(report))
        elif not self._quiet:
            self._status(" | ".join(part for part in parts if part))

    def summary(self, sent: SenderStatistics | None, heard: ReceiverStatistics | None) -> None:
        """The lines at the end of a session."""
        seconds = self._elapsed_s
        report: dict[str, Any] = {"type": "summary", "time_s": seconds}
        self.close_line()
        if sent is not None:
            rates = _rates(sent, (0, 0), sent.captured_ms / 1000)
            report["send"] = dataclasses.asdict(sent) | rates
            self._summary_line("sent", _sent_text(sent, rates))
        if heard is not None:
            rates = _rates(heard, (0, 0), seconds)
            report["receive"] = dataclasses.asdict(heard) | rates
            self._summary_line("heard", _received_text(heard, rates))
        self._summary_line("", WIRE_NOTE)
        if self._as_json:
            click.echo(json.dumps(report))

    @property
    def _elapsed_s(self) -> float:
        return round((self._clock.now_ns() - self._began_ns) / 1e9, 3)

    def _status(self, text: str) -> None:
        if sys.stderr.isatty():
            from rich.cells import chop_cells  # only where there is a terminal

            width = shutil.get_terminal_size().columns - 1  # a wrapped line cannot be overwritten
            click.echo(f"\r\x1b[K{''.join(chop_cells(text, width)[:1])}", err=True, nl=False)
            self._line_open = True
        else:
            click.echo(text, err=True)

    def close_line(self) -> None:
        """What follows on stderr begins on a line of its own."""
        if self._line_open:
            click.echo("", err=True)
        self._line_open = False

    def _summary_line(self, label: str, text: str) -> None:
        if not self._as_json and not self._quiet:
            line = f"{label}: {text}" if label else text
            click.echo(fitted(line, sys.stderr), err=True)


def _rates(
    now: SenderStatistics | ReceiverStatistics, before: tuple[int, int], seconds: float
) -> dict[str, float]:
    if seconds <= 0:
        return {"payload_bps": 0.0, "wire_bps": 0.0}
    payload, wire = max(now.payload_bytes - before[0], 0), max(now.wire_bytes - before[1], 0)
    return {
        "payload_bps": round(8 * payload / seconds, 1),
        "wire_bps": round(8 * wire / seconds, 1),
    }


def _sent_text(sent: SenderStatistics, rates: dict[str, float]) -> str:
    text = f"{_kilobits(rates)}, {sent.packets} packets, dropped {sent.dropped}"
    if sent.silent:
        text += f", silent {sent.silent}"
    if sent.lost_ms:
        text += f", capture lost {sent.lost_ms:.0f} ms"
    if sent.copy_distance:
        text += ", with copies"
    if sent.invalid_samples:
        text += f", {sent.invalid_samples} invalid samples silenced"
    if sent.listeners:
        text += f", heard by {len(sent.listeners)}{_heard_text(sent.listeners[0])}"
    return text


def _heard_text(worst: ListenerReport) -> str:
    concealed = (
        "" if worst.concealed_percent is None else f", concealed {worst.concealed_percent:.1f} %"
    )
    figures = concealed + _delay_text(worst)
    return f" (worst {worst.name}: {figures.removeprefix(', ')})" if figures else ""


def _delay_text(call: ListenerReport | StreamStatistics) -> str:
    if call.mouth_to_ear_ms is None or call.mos is None:
        return ""
    return f", mouth to ear {call.mouth_to_ear_ms:.0f} ms, MOS {call.mos:.1f}"


def _received_text(heard: ReceiverStatistics, rates: dict[str, float]) -> str:
    worst = min(heard.streams, key=lambda s: (-s.concealed_percent, s.mos or 5.0), default=None)
    lately = f" (lately {worst.concealed_percent:.1f} %)" if worst is not None else ""
    text = (
        f"{len(heard.streams)} talking, {_kilobits(rates)}, playout delay {heard.delay_ms:.0f} ms, "
        f"buffer {heard.buffer_ms:.0f} ms, {heard.packets} packets, "
        f"lost {heard.lost} late {heard.late} concealed {heard.concealed}{lately}"
    )
    if heard.recovered:
        text += f", recovered {heard.recovered}"
    if worst is not None:
        text += f", jitter {worst.jitter_ms:.0f} ms{_delay_text(worst)}"
        if worst.drift_ppm is not None:
            text += f", drift {worst.drift_ppm:+.0f} ppm"
    if heard.underruns:
        text += f", underruns {heard.underruns}"
    if heard.bad_payloads or heard.malformed:
        text += f", bad packets {heard.bad_payloads + heard.malformed}"
    return text


def _kilobits(rates: dict[str, float]) -> str:
    return f"payload {rates['payload_bps'] / 1000:.1f} wire {rates['wire_bps'] / 1000:.1f} kbit/s"
