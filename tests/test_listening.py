"""Addresses that the relay and the gateway listen on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import pytest
from websockets.asyncio.server import Server

from fakes import FakeModel
from streamcodec.errors import ConfigError
from streamcodec.listening import held_port, shown_url
from streamcodec_client.cli import main
from streamcodec_client.clock import MonotonicClock
from streamcodec_client.gateway.member import MemberSettings
from streamcodec_client.gateway.server import Gateway, GatewayConfig
from streamcodec_client.live.codec import EncodingSettings
from streamcodec_server.relay import Relay
from streamcodec_server.settings import RelayConfig

Listen: TypeAlias = Callable[[str, int], AbstractAsyncContextManager[Server]]
PATIENCE_S = 10
DUALSTACK = pytest.mark.skipif(
    not socket.has_dualstack_ipv6(), reason="no IPv6 here, or not beside IPv4"
)


def relay(host: str, port: int = 0) -> AbstractAsyncContextManager[Server]:
    return Relay(RelayConfig(host, port)).running()


def gateway(host: str, port: int = 0) -> AbstractAsyncContextManager[Server]:
    return _gateway(GatewayConfig(host, port))


@contextlib.asynccontextmanager
async def sharing_gateway(host: str, port: int = 0) -> AsyncIterator[Server]:
    """One of several processes, whose port a parent holds."""
    with contextlib.closing(held_port(host, port)) as held:
        config = GatewayConfig(host, held.getsockname()[1], shared_port=True)
        async with _gateway(config) as server:
            yield server


def _gateway(config: GatewayConfig) -> AbstractAsyncContextManager[Server]:
    settings = MemberSettings(
        "ws://127.0.0.1:1", FakeModel(), EncodingSettings(6_000), MonotonicClock()
    )
    return Gateway(config, settings).running()


SERVERS = pytest.mark.parametrize(
    "listen",
    [
        relay,
        gateway,
        pytest.param(
            sharing_gateway,
            marks=pytest.mark.skipif(sys.platform != "linux", reason="ports are shared on Linux"),
        ),
    ],
)


def healthy(url: str) -> bool:
    """Whether somebody answers there."""
    http = url.replace("ws:", "http:") + "/healthz"
    with urllib.request.urlopen(http, timeout=PATIENCE_S) as answer:
        return bool(json.load(answer)["status"] == "ok")


@DUALSTACK
@SERVERS
@pytest.mark.parametrize("host", ["::", "0::0"])
async def test_all_addresses_of_ipv6_are_those_of_ipv4_too(listen: Listen, host: str) -> None:
    async with listen(host, 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        for url in (shown_url(host, port)[0], f"ws://127.0.0.1:{port}", f"ws://localhost:{port}"):
            assert await asyncio.to_thread(healthy, url)


@DUALSTACK
@SERVERS
async def test_one_address_of_ipv6_is_none_of_ipv4(listen: Listen) -> None:
    async with listen("::1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        assert await asyncio.to_thread(healthy, f"ws://[::1]:{port}")
        with pytest.raises(OSError, match="refused"):
            await asyncio.to_thread(healthy, f"ws://127.0.0.1:{port}")


@SERVERS
@pytest.mark.parametrize(
    "host", ["127.0.0.1", pytest.param("::", marks=DUALSTACK), pytest.param("::1", marks=DUALSTACK)]
)
async def test_a_port_in_use_is_named(listen: Listen, host: str) -> None:
    family = socket.AF_INET6 if host == "::1" else socket.AF_INET
    taken_host = "::1" if host == "::1" else "127.0.0.1"
    with socket.create_server((taken_host, 0), family=family) as taken:
        port = taken.getsockname()[1]
        shown = f"\\[{host}\\]" if ":" in host else host
        with pytest.raises(
            ConfigError, match=f"^cannot listen on {shown}:{port}: address already in use$"
        ):
            async with listen(host, port):
                pass


@SERVERS
@pytest.mark.parametrize("host", ["a..b", "x" * 70])
async def test_a_malformed_host_name_is_one_error(listen: Listen, host: str) -> None:
    with pytest.raises(ConfigError, match=f"^cannot listen on {host}:0: that is no host name$"):
        async with listen(host, 0):
            pass


@SERVERS
async def test_an_address_of_another_machine_names_what_is_allowed(listen: Listen) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^cannot listen on 192\.0\.2\.1:0: cannot assign requested address; host must be an "
        r"address of this machine, 0\.0\.0\.0 for all of IPv4, or :: for all of IPv4 and IPv6$",
    ):
        async with listen("192.0.2.1", 0):  # RFC 5737: of documentation
            pass


@pytest.mark.parametrize("config", [RelayConfig, GatewayConfig])
def test_an_empty_host_does_not_mean_all_addresses(
    config: Callable[[str, int], RelayConfig | GatewayConfig],
) -> None:
    with pytest.raises(ConfigError, match="host must not be empty: 0.0.0.0 listens on all"):
        config("", 0)
    with pytest.raises(ConfigError, match="port must be 0 to 65535, got 65536"):
        config("127.0.0.1", 65_536)


@pytest.mark.skipif(sys.platform != "linux", reason="processes share a port on Linux only")
@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize(
    ("host", "complaint"), [("", "host must not be empty"), ("192.0.2.1", "cannot listen on 192.")]
)
def test_the_gateway_says_it_in_one_line_however_many_processes(
    host: str, complaint: str, jobs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gateway", "--host", host, "--jobs", jobs]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"streamcodec: {complaint}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("host", "url", "note"),
    [
        ("127.0.0.1", "ws://127.0.0.1:1", ""),
        ("relay.example", "ws://relay.example:1", ""),
        ("::1", "ws://[::1]:1", ""),
        ("fd00::2", "ws://[fd00::2]:1", ""),
        ("0.0.0.0", "ws://127.0.0.1:1", " and on all addresses of this machine (IPv4)"),
        ("::", "ws://[::1]:1", " and on all addresses of this machine (IPv"),
    ],
)
def test_the_url_shown_is_one_for_clients(host: str, url: str, note: str) -> None:
    shown, besides = shown_url(host, 1)
    assert shown == url
    assert besides.startswith(note)
