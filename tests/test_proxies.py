"""Proxies that the environment names: which one is taken, and what is said where it fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stand_in_relay import HELLO, Client, StandInRelay, standing_in
from streamcodec.errors import ConfigError, ConnectionRefused
from streamcodec_client.transport.opening import route_to
from streamcodec_client.transport.relay import RelayTransport
from streamcodec_server.relay import Relay
from streamcodec_server.settings import RelayConfig
from virtual_network import LoopClock, VirtualLoop, virtual_server

RELAY, RELAY_TLS = "ws://relay.example:8765", "wss://relay.example:8765"
FORMS = r"http://, https:// or socks5://\[USER:PASSWORD@\]HOST:PORT"
pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="other systems name proxies elsewhere, too"
)


@pytest.fixture(autouse=True)
def no_proxy_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def complaints() -> list[dict[str, Any]]:
    """What the event loop complained of: asyncio would print a traceback for each."""
    return []


class StandInProxy:
    """Answers a CONNECT with `answer`, or leads to `port`."""

    def __init__(self, answer: bytes | None = None, port: int = 0) -> None:
        self.asked: list[bytes] = []
        self._answer, self._port = answer, port

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        async with await asyncio.start_server(self._meet, "127.0.0.1", 0) as server:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(await reader.readuntil(b"\r\n\r\n"))
        if self._answer is not None:
            writer.write(self._answer)
        else:
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            await asyncio.gather(_pipe(reader, back), _pipe(there, writer))
        writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(4096):
            writer.write(data)
        writer.close()


@pytest.mark.parametrize(
    "variable", ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY", "ws_proxy"]
)
async def test_a_session_through_a_proxy(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with standing_in(StandInRelay()) as relay:
        proxy = StandInProxy(port=relay.port)
        async with proxy.running() as address:
            monkeypatch.setenv(variable, f"http://anna:secret@{address}")
            client = Client(RELAY)
            assert await client.diary.next() == ("connected", 1)
            await client.leaves()
    assert proxy.asked[0].startswith(b"CONNECT relay.example:8765 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic " in proxy.asked[0]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "the proxy {} closed the connection without an answer"),
        (b"HTTP/1.1 407 Who\r\n\r\n", "the proxy {} wants a password"),
        (b"HTTP/1.1 403 No\r\n\r\n", "the proxy {} refuses to connect us (HTTP 403)"),
        (b"HTTP/1.1 502 Bad\r\n\r\n", "the proxy {} cannot reach the relay (HTTP 502)"),
        (b"220 mail ready\r\n", "the proxy {} does not speak HTTP"),
    ],
)
@pytest.mark.parametrize("url", [RELAY, RELAY_TLS])
async def test_a_proxy_that_fails_is_named_in_one_line_without_tracebacks(
    url: str,
    answer: bytes,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    complaints: list[dict[str, Any]],
) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    async with StandInProxy(answer).running() as address:
        monkeypatch.setenv("https_proxy", f"http://{address}")
        with pytest.raises(ConnectionRefused) as refused:
            await Client(url, first_connection_s=0.0).ends()
    assert said.format(f"{address} (https_proxy)") in str(refused.value)
    assert "\n" not in str(refused.value)
    assert complaints == []


async def test_a_server_that_closes_behind_the_proxy_in_the_midst_of_tls(
    monkeypatch: pytest.MonkeyPatch, complaints: list[dict[str, Any]]
) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    async with StandInProxy(b"HTTP/1.1 200 Connected\r\n\r\n").running() as address:
        monkeypatch.setenv("https_proxy", f"http://{address}")
        with pytest.raises(ConnectionRefused, match=rf"TLS.*through the proxy {address}"):
            await Client(RELAY_TLS, first_connection_s=0.0).ends()
    assert complaints == []


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY"])
async def test_where_the_proxy_refused_it_is_the_proxy_that_is_named(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with StandInProxy().running() as address:
        pass  # nobody listens there any more
    monkeypatch.setenv(variable, f"http://{address}")
    said = rf"the proxy {address} \({variable}\) refused the connection"
    with pytest.raises(ConnectionRefused, match=said):
        await Client(RELAY, first_connection_s=0.0).ends()


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "SOCKS_PROXY"])
@pytest.mark.parametrize(
    "named",
    [
        "127.0.0.1:3128",
        "http://127.0.0.1:abc",
        "http://127.0.0.1:99999",
        "http://:3128",
        "http://[::1",
        "http://a..b:3128",
        "http://127.0.0.1:3128/path",
        "ftp://127.0.0.1:3128",
    ],
)
def test_a_malformed_proxy_is_refused_by_the_name_of_its_variable(
    variable: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, named)
    with pytest.raises(ConfigError, match=f"^{variable} must be {FORMS}, got ") as refused:
        route_to(RELAY)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("named", ["http://anna@host:1", "http://anna:sec%ff@host:1/"])
def test_no_password_is_printed(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", named)
    with pytest.raises(ConfigError, match=r"got 'http://\*\*\*@host:1/?'") as refused:
        route_to(RELAY)
    assert "anna" not in str(refused.value)


@pytest.mark.parametrize("variable", ["all_proxy", "ALL_PROXY", "socks_proxy", "SOCKS_PROXY"])
def test_socks_without_its_package_says_what_to_install(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "socks5://127.0.0.1:1080")
    monkeypatch.setitem(sys.modules, "python_socks", None)
    said = f"{variable} names a SOCKS proxy: pip install python-socks, or name relay.example in"
    with pytest.raises(ConfigError, match=said):
        route_to(RELAY)


@pytest.mark.parametrize(
    ("exempt", "url"),
    [
        ("relay.example", RELAY),
        (".example", RELAY),
        ("*", RELAY),
        ("relay.example:8765", RELAY),
        ("", "ws://localhost:1"),
        ("", "ws://[::1]:1"),
        ("fd00::2", "ws://[fd00::2]:1"),
    ],
)
@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
def test_what_no_proxy_names_and_this_machine_are_reached_directly(
    variable: str, exempt: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "malformed")
    monkeypatch.setenv(variable, exempt)
    assert route_to(url).proxy is None


def test_http_proxy_is_not_for_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://plain:1")
    assert route_to(RELAY_TLS).proxy is None
    monkeypatch.setenv("https_proxy", "http://secure:1")
    assert str(route_to(RELAY_TLS).proxy) == "proxy secure:1 (https_proxy)"


class Tunnel(asyncio.Protocol):
    """A proxy on the simulated network; 502 while there is no relay."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if (accept := self._loop.servers.get(8765)) is None:
            self._transport.write(b"HTTP/1.1 502 Bad\r\n\r\n")
        else:
            self._transport.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            relay = accept()
            self._transport.set_protocol(relay)
            relay.connection_made(self._transport)


@pytest.mark.parametrize("round_trip_s", [0.001, 0.06, 0.2, 0.9])
def test_a_session_that_is_lost_behind_a_proxy_does_not_storm_it(
    round_trip_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    loop, told = VirtualLoop(round_trip_s / 2, outages=[(10.0, 25.0)]), list[str]()

    def relay() -> Any:
        return Relay(
            RelayConfig(port=8765), lambda: loop.time() * 1e3, open_server=virtual_server
        ).running()

    async def session() -> None:
        await loop.create_server(lambda: Tunnel(loop), port=3128)
        client = RelayTransport(
            RELAY, HELLO, [], LoopClock(), retrying=told.append, jitter=lambda: 0.5
        )
        running = asyncio.ensure_future(client.run())
        async with relay():
            await asyncio.sleep(9)
            assert client.connection == 1
            await asyncio.sleep(30)  # the network goes and comes back
            assert (client.connection or 0) > 1
        await asyncio.sleep(20)  # the relay goes
        assert client.connection is None
        client.close()
        await running

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(session())
    proxy = "the proxy proxy.example:3128 (http_proxy)"
    assert told[-1] == f"{proxy} cannot reach the relay (HTTP 502)"
    for at_s in loop.tried_s:
        assert len([other for other in loop.tried_s if at_s <= other < at_s + 1]) <= 5


@pytest.mark.parametrize("round_trip_s", [0.001, 0.06, 0.2, 0.9])
@pytest.mark.parametrize("behaviour", ["refuses", "closes", "502 after 1.5 s", "is silent"])
def test_a_proxy_is_not_stormed(
    behaviour: str, round_trip_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    loop = VirtualLoop(round_trip_s / 2)

    class Behaving(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            if behaviour == "closes":
                transport.close()
            elif behaviour == "502 after 1.5 s":
                loop.call_later(1.5, transport.write, b"HTTP/1.1 502 Bad\r\n\r\n")

    async def search() -> None:
        if behaviour != "refuses":
            await loop.create_server(Behaving, port=3128)
        transport = RelayTransport(RELAY, HELLO, [], LoopClock(), jitter=lambda: 0.5)
        with pytest.raises(ConnectionRefused, match=r"\(tried for 10 s\)"):
            await transport.run()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(search())
    assert loop.time() == pytest.approx(10.0, abs=1e-3)
    for at_s in loop.tried_s:
        assert len([other for other in loop.tried_s if at_s <= other < at_s + 1]) <= 5
