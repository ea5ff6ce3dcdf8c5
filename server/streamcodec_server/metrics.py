"""What a relay counts, for Prometheus: on a port of its own, which strangers need not reach."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from streamcodec.errors import ConfigError

from .pulse import Pulse
from .rooms import Rooms

GAUGES = {
    "rooms": "Rooms that have members.",
    "talkers": "Connections that may talk.",
    "listeners": "Connections that listen.",
}
COUNTERS = {
    "packets_in": "Media packets that came.",
    "packets_out": "Media packets that were sent to listeners.",
    "bytes_in": "Bytes of the packets that came.",
    "bytes_out": "Bytes of the packets that were sent.",
    "refused": "Clients and requests that were refused.",
}
DROPS = {"dropped": "slow listener", "stale": "came too late", "throttled": "sent too fast"}


class Counted(Protocol):
    """The relay, as far as metrics need it."""

    rooms: Rooms
    pulse: Pulse

    def health(self) -> dict[str, object]: ...


class RelayCollector(Collector):
    """Reads the relay when Prometheus asks."""

    def __init__(self, relay: Counted) -> None:
        self._relay = relay

    def collect(self) -> Iterable[Metric]:
        health = {k: v for k, v in self._relay.health().items() if isinstance(v, int | float)}
        for name, words in GAUGES.items():
            yield GaugeMetricFamily(f"streamcodec_{name}", words, health[name])
        for name, words in COUNTERS.items():
            yield CounterMetricFamily(f"streamcodec_{name}", words, health[name])
        drops = CounterMetricFamily(
            "streamcodec_dropped_packets",
            "Packets that were not sent, by reason.",
            None,
            ["reason"],
        )
        for name, reason in DROPS.items():
            drops.add_metric([reason], health[name])
        yield drops
        yield GaugeMetricFamily(
            "streamcodec_loop_lag_seconds",
            "The longest that the event loop was late in the last ten seconds.",
            health["loop_lag_ms"] / 1_000,
        )
        counters = self._relay.rooms.counters
        for name, words, histogram in (
            ("loop_late", "How late the event loop came to what was due.", self._relay.pulse.late),
            (
                "distribution",
                "From a packet's arrival until the last listener of its room had been handed it.",
                counters.distributed,
            ),
            (
                "wait",
                "From a packet's arrival until it was sent, for listeners for which it waited.",
                counters.waited,
            ),
        ):
            yield HistogramMetricFamily(
                f"streamcodec_{name}_seconds",
                words,
                histogram.cumulative(),
                histogram.total_ms / 1_000,
            )


@contextlib.contextmanager
def metrics_at(host: str, port: int, relay: Counted) -> Iterator[int]:
    """Serves /metrics in a thread of its own -> the port. Raises ConfigError where it cannot."""
    registry = CollectorRegistry()
    registry.register(RelayCollector(relay))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigError(f"cannot serve metrics on {host}:{port}: {error.strerror}") from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
