"""The relay over real sockets on loopback."""

import asyncio
import contextlib
import json
import urllib.request
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from relay_clients import (
    INFO,
    NO_BUDGETS,
    PATIENCE_S,
    ManualClock,
    closing_code,
    listeners,
    member,
    next_media,
    relay,
    stuck_listener,
)
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.packet import Flags, Packet, serialize
from streamcodec.wire.session import SUBPROTOCOL, CloseCode, Hello, Role, Time
from streamcodec_server.distribution import FEWEST_TOGETHER
from streamcodec_server.limits import RoomLimits
from streamcodec_server.mailbox import Mailbox
from streamcodec_server.relay import Relay


async def test_listeners_receive_what_a_talker_sends() -> None:
    async with (
        relay() as (_, _, url),
        member(url, Hello(Role.LISTEN, "a")) as (one, _),
        member(url, Hello(Role.BOTH, "a", "Bob", INFO)) as (two, _),
        member(url, Hello(Role.TALK, "a", "Ada", INFO)) as (ada, welcome),
    ):
        for sequence in range(5):
            await ada.send(serialize(Packet(Flags.VOICE, 0, sequence, 0, b"hello")))
        for listener in (one, two):
            heard = [await next_media(listener) for _ in range(5)]
            assert [p.sequence for p in heard] == [0, 1, 2, 3, 4]
            assert {p.stream for p in heard} == {welcome.stream}


async def publish(clock: ManualClock, ada: ClientConnection, well: ClientConnection) -> None:
    """Ada sends a packet, and everybody who reads has received it on return."""
    captured = round(16 * clock.now_ms)
    await ada.send(serialize(Packet(Flags.VOICE, 0, 0, captured, bytes(1000))))
    assert len((await next_media(well)).payload) == 1000


@contextlib.asynccontextmanager
async def blocked_listener(
    running: Relay, clock: ManualClock, url: str
) -> AsyncIterator[tuple[Mailbox, ClientConnection, ClientConnection]]:
    """A listener that reads nothing, with all buffers on the way to it full -> its mailbox, and a
    talker and a listener that go on.
    """
    async with (
        stuck_listener(running, url),
        member(url, Hello(Role.TALK, "a", "Ada", INFO)) as (ada, _),
        member(url, Hello(Role.LISTEN, "a")) as (well, _),
    ):
        mailbox = listeners(running)[0].mailbox
        while len(mailbox) < 100:  # fewer may fit into the kernel's buffers a moment later
            await publish(clock, ada, well)
        yield mailbox, ada, well


async def test_a_listener_that_reads_nothing_delays_no_other_and_has_a_bounded_queue() -> None:
    limits = RoomLimits(max_queue_ms=50, too_slow_ms=1e9, **NO_BUDGETS)
    async with (
        relay(limits) as (running, clock, url),
        blocked_listener(running, clock, url) as blocked,
    ):
        mailbox, ada, well = blocked
        for _ in range(300):
            clock.now_ms += 5.0
            await publish(clock, ada, well)
        assert len(mailbox) == 11  # 0 to 50 ms old
        assert listeners(running)[1].mailbox.dropped == 0


async def test_a_listener_that_reads_nothing_is_cut_off() -> None:
    """Not even the close frame reaches it: the relay has to abort the connection."""
    limits = RoomLimits(max_queue_ms=20, too_slow_ms=50, **NO_BUDGETS)
    async with (
        relay(limits) as (running, clock, url),
        blocked_listener(running, clock, url) as blocked,
    ):
        _, ada, well = blocked
        # Each time everything in its queue is dropped: after the second it is too slow, unless the
        # kernel has found room for more meanwhile.
        async with asyncio.timeout(PATIENCE_S):
            while len(listeners(running)) > 1:
                clock.now_ms += 51.0
                await publish(clock, ada, well)
                await asyncio.sleep(0.01)


async def test_a_listener_that_reads_nothing_does_not_delay_the_shutdown() -> None:
    async with contextlib.AsyncExitStack() as ending, asyncio.timeout(PATIENCE_S):
        running, clock, url = await ending.enter_async_context(relay(RoomLimits(**NO_BUDGETS)))
        async with blocked_listener(running, clock, url):
            await ending.aclose()
            assert not listeners(running)


async def test_media_that_waited_too_long_by_the_relays_clock_is_not_sent() -> None:
    async with (
        relay(RoomLimits(max_queue_ms=50)) as (running, clock, url),
        member(url, Hello(Role.TALK, "a", "Ada", INFO)) as (ada, _),
        member(url, Hello(Role.LISTEN, "a")) as (lis, _),
        contextlib.AsyncExitStack() as others,  # so many that packets wait for their turn
    ):
        for _ in range(FEWEST_TOGETHER):
            await others.enter_async_context(member(url, Hello(Role.LISTEN, "a")))
        clock.step_ms = 51.0  # that much passes between a packet's arrival and its sending
        captured = round(16 * clock.now_ms)
        await ada.send(serialize(Packet(Flags.VOICE, 0, 0, captured, b"late")))
        async with asyncio.timeout(PATIENCE_S):
            while not running.rooms.counters.dropped:
                await asyncio.sleep(0.01)
        clock.step_ms = 0.0
        captured = round(16 * clock.now_ms)
        await ada.send(serialize(Packet(Flags.VOICE, 0, 1, captured, b"in time")))
        assert (await next_media(lis)).payload == b"in time"


async def test_a_listener_that_reads_too_slowly_is_told_so() -> None:
    """It reads again before it is given up: then the close frame reaches it."""
    limits = RoomLimits(max_queue_ms=20, too_slow_ms=50, **NO_BUDGETS)
    async with (
        relay(limits, close_timeout_s=PATIENCE_S) as (running, clock, url),
        member(url, Hello(Role.LISTEN, "a")) as (slow, _),
        member(url, Hello(Role.TALK, "a", "Ada", INFO)) as (ada, _),
        member(url, Hello(Role.LISTEN, "a")) as (well, _),
    ):
        while len(listeners(running)) > 1:  # it has left the room when the relay closes it
            clock.now_ms += 1.0
            await publish(clock, ada, well)
        assert await closing_code(slow) == (CloseCode.TOO_SLOW, "this listener reads too slowly")


async def test_a_connection_that_was_replaced_is_cut() -> None:
    async with (
        relay() as (_, _, url),
        member(url, Hello(Role.TALK, "a", "Ada", INFO)) as (old, welcome),
        member(url, Hello(Role.TALK, "a", "Ada", INFO, resume=welcome.session)) as (new, again),
    ):
        assert again.stream == welcome.stream
        async with asyncio.timeout(PATIENCE_S):
            await old.wait_closed()
        assert old.close_code == 1006  # without a close handshake
        await new.send(serialize_message(Time(1.0)))
        assert isinstance(parse_message(str(await new.recv())), Time)


async def test_the_relay_answers_with_the_time_of_its_clock() -> None:
    async with (
        relay() as (_, clock, url),
        member(url, Hello(Role.LISTEN, "a")) as (listener, _),
    ):
        clock.now_ms = 1_234.5
        await listener.send(serialize_message(Time(5.0)))
        assert parse_message(str(await listener.recv())) == Time(5.0, 1_234.5)


@pytest.mark.parametrize(
    ("role", "sent", "code", "reason"),
    [
        (Role.TALK, b"\x30\0\0", CloseCode.MALFORMED, "need 12 header bytes, got 3"),
        (Role.TALK, b"\x20" + bytes(20), CloseCode.VERSION, "version 2: this program speaks 3"),
        (Role.TALK, bytes(5000), CloseCode.TOO_BIG, ""),
        (
            Role.TALK,
            b"\x30" + bytes(1300),
            CloseCode.MALFORMED,
            "payload of 1289 bytes: at most 1200",
        ),
        (Role.TALK, "{", CloseCode.MALFORMED, "no JSON"),
        (
            Role.LISTEN,
            serialize(Packet(Flags(0), 0, 0, 0, b"x")),
            CloseCode.POLICY_VIOLATION,
            "may not send media",
        ),
    ],
)
async def test_bad_input_ends_its_connection_with_a_reason_and_no_other(
    role: Role, sent: bytes | str, code: int, reason: str
) -> None:
    async with relay() as (_, _, url), member(url, Hello(Role.LISTEN, "a")) as (well, _):
        async with member(url, Hello(role, "a", "Mallory", INFO if role.talks else None)) as (
            bad,
            _,
        ):
            await bad.send(sent)
            got_code, got_reason = await closing_code(bad)
            assert got_code == code
            assert reason in got_reason
        async with member(url, Hello(Role.TALK, "a", "Ada", INFO)) as (ada, _):
            await ada.send(serialize(Packet(Flags(0), 0, 3, 0, b"still here")))
            assert (await next_media(well)).payload == b"still here"


@pytest.mark.parametrize(
    ("first", "code", "reason"),
    [
        (b"media", CloseCode.MALFORMED, "first message must be a hello"),
        ('{"type": "mute", "muted": true}', CloseCode.MALFORMED, "first message must be a hello"),
        (
            '{"type": "hello", "version": 9, "role": "talk", "room": "a"}',
            CloseCode.VERSION,
            "version 9: this program speaks 3",
        ),
        (
            '{"type": "hello", "version": 9, "place": "a"}',
            CloseCode.VERSION,
            "version 9: this program speaks 3",
        ),
        (
            '{"type": "hello", "version": 3, "role": "listen", "room": "cellar"}',
            CloseCode.NO_SUCH_ROOM,
            "no room cellar",
        ),
    ],
)
async def test_a_bad_hello_is_answered(first: bytes | str, code: int, reason: str) -> None:
    async with relay(RoomLimits(rooms=frozenset({"hall"}))) as (_, _, url):
        async with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None) as connection:
            await connection.send(first)
            got_code, got_reason = await closing_code(connection)
    assert got_code == code
    assert reason in got_reason


async def test_a_client_that_says_no_hello_is_disconnected() -> None:
    async with (
        relay(hello_timeout_s=0.01) as (_, _, url),
        connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None) as connection,
    ):
        assert await closing_code(connection) == (
            CloseCode.POLICY_VIOLATION,
            "no hello within 0.01 s",
        )


@pytest.mark.parametrize("other", ["streamcodec.v1", "streamcodec.v30", None])
async def test_another_subprotocol_is_refused_with_the_right_one(other: str | None) -> None:
    async with relay() as (_, _, url):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(
                url, subprotocols=[Subprotocol(other)] if other else None, proxy=None
            ):
                pass
    assert refused.value.response.status_code == 426
    assert b"streamcodec.v3" in (refused.value.response.body or b"")


async def test_health_counts_rooms_and_members() -> None:
    async with relay() as (_, _, url), member(url, Hello(Role.BOTH, "a", "Ada", INFO)):
        address = url.replace("ws", "http") + "/healthz"
        with await asyncio.to_thread(urllib.request.urlopen, address) as answer:
            health = json.load(answer)
    assert health == {
        "status": "ok",
        "rooms": 1,
        "talkers": 1,
        "listeners": 1,
        "packets_in": 0,
        "packets_out": 0,
        "bytes_in": 0,
        "bytes_out": 0,
        "dropped": 0,
        "stale": 0,
        "throttled": 0,
        "loop_lag_ms": health["loop_lag_ms"],
        "refused": 0,
    }


async def test_a_relay_that_shuts_down_asks_clients_to_come_back() -> None:
    async with relay() as (_, _, url):
        connection = await connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None)
        await connection.send(serialize_message(Hello(Role.LISTEN, "a")))
        await connection.recv()
    assert (await closing_code(connection))[0] == CloseCode.SERVICE_RESTART


async def test_a_refusal_fits_in_a_message_even_if_there_are_many_rooms() -> None:
    async with relay(RoomLimits(rooms=frozenset(f"{n:064}" for n in range(100)))) as (_, _, url):
        async with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None) as connection:
            await connection.send(serialize_message(Hello(Role.LISTEN, "cellar")))
            assert (await closing_code(connection))[0] == CloseCode.NO_SUCH_ROOM
