"""Relays behind a proxy: limits count the clients that it names, if it is one of ours."""

from __future__ import annotations

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from relay_clients import listeners, relay
from streamcodec.errors import ConfigError
from streamcodec.wire.message_json import serialize_message
from streamcodec.wire.session import SUBPROTOCOL, Hello, Role
from streamcodec_server.addresses import AddressLimits
from streamcodec_server.limits import RoomLimits
from streamcodec_server.proxies import Proxies

OURS = Proxies(["10.0.0.0/8", "2001:db8::1", "127.0.0.1"])


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (["198.51.100.7"], "198.51.100.7"),
        (["198.51.100.7, 10.1.2.3"], "198.51.100.7"),
        (["198.51.100.7", "10.1.2.3, 2001:db8::1"], "198.51.100.7"),
        (["203.0.113.1, 198.51.100.7, 10.1.2.3"], "198.51.100.7"),  # the first may be forged
        (["198.51.100.7:4711"], "198.51.100.7"),
        (["::ffff:198.51.100.7"], "198.51.100.7"),
        (["[2001:db8:7::9]:443"], "2001:db8:7::/64"),
        (["2001:db8:7::9"], "2001:db8:7::/64"),
        (["10.1.2.3, 10.1.2.4"], None),
        (["198.51.100.7, unknown"], None),
        ([""], None),
        ([], None),
    ],
)
def test_the_last_address_that_is_not_a_proxys_is_the_client(
    forwarded: list[str], client: str | None
) -> None:
    assert OURS.client(forwarded) == client


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [("10.9.9.9", True), ("::ffff:10.9.9.9", True), ("11.0.0.1", False), ("2001:db8::1", True)],
)
def test_only_named_networks_are_proxies(host: str, is_ours: bool) -> None:
    assert OURS.include(host) == is_ours


@pytest.mark.parametrize("network", ["10.0.0.1/8", "proxy.example", ""])
def test_what_is_no_network_is_named(network: str) -> None:
    with pytest.raises(ConfigError, match="a proxy is an address or a network such as 10"):
        Proxies([network])


async def listening(url: str, forwarded: str) -> ClientConnection:
    connection = await connect(
        url,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        additional_headers={"X-Forwarded-For": forwarded},
        proxy=None,
    )
    await connection.send(serialize_message(Hello(Role.LISTEN, "a")))
    await connection.recv()
    return connection


LIMITS = RoomLimits(addresses=AddressLimits(connections=2))


async def test_clients_of_a_proxy_are_limited_each_by_itself() -> None:
    async with relay(LIMITS, proxies=("127.0.0.1",)) as (running, _, url):
        first = [await listening(url, f"192.0.2.{n % 2}") for n in range(4)]
        assert {m.address for m in listeners(running)} == {"192.0.2.0", "192.0.2.1"}
        with pytest.raises(InvalidStatus) as refused:
            await listening(url, "192.0.2.1")
        assert refused.value.response.status_code == 429
        await first[1].close()
        first.append(await listening(url, "192.0.2.1"))
        for connection in first:
            await connection.close()


async def test_strangers_cannot_name_themselves() -> None:
    async with relay(LIMITS) as (running, _, url):
        connections = [await listening(url, f"192.0.2.{n}") for n in range(2)]
        assert {m.address for m in listeners(running)} == {"127.0.0.1"}
        with pytest.raises(InvalidStatus):
            await listening(url, "192.0.2.9")
        for connection in connections:
            await connection.close()
