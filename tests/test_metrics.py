"""Metrics of a relay, as Prometheus reads them."""

from __future__ import annotations

import asyncio
import socket
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from relay_clients import INFO, member, next_media, relay
from room_members import drain, join_listener, join_talker, media, publish
from streamcodec.errors import ConfigError
from streamcodec.wire.packet import Flags, Packet, serialize
from streamcodec.wire.session import Hello, Role
from streamcodec_server.histogram import Histogram
from streamcodec_server.metrics import metrics_at
from streamcodec_server.rooms import Rooms


def read(port: int) -> dict[tuple[str, str], float]:
    """Value of each sample, by its name and its reason, where it has one."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {
            (sample.name, sample.labels.get("reason", "")): sample.value
            for family in families
            for sample in family.samples
        }


async def test_metrics_count_what_the_relay_did() -> None:
    async with (
        relay() as (running, _, url),
        member(url, Hello(Role.LISTEN, "a")) as (lis, _),
        member(url, Hello(Role.TALK, "a", "Ada", INFO)) as (ada, _),
    ):
        sent = serialize(Packet(Flags(0), 0, 0, 0, b"hello"))
        await ada.send(sent)
        await next_media(lis)
        running.rooms.counters.throttled = 3
        with metrics_at("127.0.0.1", 0, running) as port:
            values = await asyncio.to_thread(read, port)
    assert values["streamcodec_talkers", ""] == values["streamcodec_listeners", ""] == 1
    assert values["streamcodec_packets_in_total", ""] == 1
    assert values["streamcodec_bytes_out_total", ""] == len(sent)
    assert values["streamcodec_dropped_packets_total", "sent too fast"] == 3
    assert values["streamcodec_dropped_packets_total", "slow listener"] == 0
    assert 0 <= values["streamcodec_loop_lag_seconds", ""] < 60
    assert values["streamcodec_distribution_seconds_count", ""] == 1
    assert values["streamcodec_wait_seconds_count", ""] == 0
    assert values["streamcodec_loop_late_seconds_count", ""] >= 0


def test_a_histogram_counts_what_was_not_above_each_bound() -> None:
    ages = Histogram()
    for value_ms in (0.0, 1.0, 1.5, 20.0, 20.1, 5_000.0):
        ages.add(value_ms)
    assert ages.total_ms == pytest.approx(5_042.6)
    counted = dict(ages.cumulative())
    assert [counted[bound] for bound in ("0.001", "0.002", "0.01", "0.02", "0.05", "1")] == [
        *(2, 3, 3, 4, 5, 5)
    ]
    assert ages.cumulative()[-1] == ("+Inf", 6)


def test_what_waits_for_a_slow_listener_is_timed() -> None:
    rooms = Rooms()
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)
    publish(rooms, ada, media(0), 0.0)
    drain(lis, 30.0)
    assert rooms.counters.waited.total_ms == 30.0
    assert sum(rooms.counters.waited.counts) == sum(rooms.counters.distributed.counts) == 1


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot serve metrics on 127.0.0.1:{port}"):
            metrics_at("127.0.0.1", port, None).__enter__()  # type: ignore[arg-type]
