"""The connection to a relay that answers, dies and comes back. A small websockets server stands for
the relay.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from fakes import WAIT_S
from stand_in_relay import HELLO, Client, StandInRelay, standing_in
from streamcodec.errors import ConfigError
from streamcodec.wire.message_json import serialize_message
from streamcodec.wire.overhead import wire_bytes
from streamcodec.wire.packet import Flags, Packet, serialize
from streamcodec.wire.session import CloseCode, Mute
from streamcodec_client.transport.url import check_url


@pytest.fixture
async def relay() -> AsyncIterator[StandInRelay]:
    async with standing_in(StandInRelay()) as stand_in:
        yield stand_in


async def test_hello_is_said_and_the_welcome_is_told(relay: StandInRelay) -> None:
    client = Client(relay.url)
    assert await client.diary.next() == ("connected", 1)
    assert await relay.hello() == HELLO
    assert client.transport.connection == 1
    await client.leaves()


async def test_media_and_messages_go_both_ways(relay: StandInRelay) -> None:
    client = Client(relay.url)
    await client.diary.next()
    await relay.received.get()
    assert await client.transport.send(word("packet"))
    assert await client.transport.send_message(Mute(True))
    assert await relay.received.get() == word("packet")
    assert await relay.received.get() == serialize_message(Mute(True))
    assert relay.connection is not None
    await relay.connection.send(word("media"))
    await relay.connection.send(serialize_message(Mute(True, 2)))
    assert await client.diary.next() == ("media", word("media"))
    assert await client.diary.next() == ("message", Mute(True, 2))
    await client.leaves()


async def test_messages_that_we_do_not_understand_are_ignored(relay: StandInRelay) -> None:
    client = Client(relay.url)
    await client.diary.next()
    assert relay.connection is not None
    for text in ('{"type": "from the future"}', "no JSON", '{"type": "stream_end"}'):
        await relay.connection.send(text)
    await relay.connection.send(word("still here"))
    assert await client.diary.next() == ("media", word("still here"))
    await client.leaves()


async def test_goodbye_is_a_normal_close(relay: StandInRelay) -> None:
    client = Client(relay.url)
    await client.diary.next()
    await client.leaves()
    async with asyncio.timeout(WAIT_S):
        assert await relay.endings.get() == CloseCode.NORMAL
    assert client.transport.connection is None
    assert not await client.transport.send(word("too late"))


async def test_a_relay_that_dies_is_reconnected_to_and_nothing_is_replayed(
    relay: StandInRelay,
) -> None:
    client = Client(relay.url)
    assert await client.diary.next() == ("connected", 1)
    await relay.received.get()
    await relay.die()
    assert (await client.diary.next())[0] == "disconnected"
    assert client.transport.connection is None
    assert not await client.transport.send(word("stale"))
    await relay.start()
    assert await client.diary.next() == ("connected", 2)
    assert await client.transport.send(word("fresh"))
    assert await relay.hello() == dataclasses.replace(HELLO, resume="session")
    assert await relay.received.get() == word("fresh")
    await client.leaves()


async def test_a_session_that_goes_on_sends_at_once(relay: StandInRelay) -> None:
    """The welcome would be a round trip more of silence."""
    client = Client(relay.url)
    assert await client.diary.next() == ("connected", 1)
    await relay.received.get()
    relay.silences = 1
    assert relay.connection is not None
    relay.connection.transport.abort()
    assert (await client.diary.next())[0] == "disconnected"
    assert await relay.hello() == dataclasses.replace(HELLO, resume="session")
    async with asyncio.timeout(WAIT_S):
        while client.transport.connection is None:
            await asyncio.sleep(0.001)
    assert client.transport.connection == 2
    assert await client.transport.send(word("before the welcome"))
    # That relay says nothing: the next connection has a number of its own, so that encoders begin
    # anew with it.
    assert await client.diary.next() == ("connected", 3)
    await client.leaves()


def test_a_pages_link_is_told_how_to_write_it() -> None:
    with pytest.raises(ConfigError, match=r"got 'https://relay/\?room=us'; .* --room NAME"):
        check_url("https://relay/?room=us")


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8765", "http://relay", "ws://", "ws://host:99999", "ws://[::1"]
)
def test_a_url_that_names_no_relay_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="must be ws://HOST:PORT or wss://HOST:PORT"):
        check_url(url)


def word(text: str) -> bytes:
    return serialize(Packet(Flags.VOICE, 0, 0, 0, text.encode()))


def test_wire_bytes() -> None:
    """TCP/IP 52, frame 2 and mask 4, header 12; a longer length field from 126 bytes on; TLS 22."""
    assert wire_bytes(19, to_relay=True, tls=False) == 52 + 6 + 19
    assert wire_bytes(19, to_relay=False, tls=False) == 52 + 2 + 19
    assert wire_bytes(125, to_relay=False, tls=False) == 52 + 2 + 125
    assert wire_bytes(126, to_relay=False, tls=True) == 52 + 22 + 4 + 126
