"""The relay: websockets around Rooms, a watch over all connections, health checks, and an orderly
shutdown. It never decodes audio.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from streamcodec.errors import (
    MalformedMessage,
    MalformedPacket,
    UnsupportedVersion,
)
from streamcodec.listening import listening_at
from streamcodec.wire.message_json import parse_message
from streamcodec.wire.session import CloseCode, Hello, Role

from .accepting import Accepting, accept_in_turns
from .admission import allowed, hello_in
from .clock import monotonic_ms
from .connection import Connection
from .download import Download
from .fan_out import native_fan_out
from .farewell import error_frame, reason_of
from .log import Tell, tell_nobody
from .mailbox import Mailbox
from .members import Member
from .pulse import Pulse
from .refused import Refused
from .requests import answer_request
from .room_list import RoomList
from .rooms import Rooms
from .settings import RelayConfig
from .turns import Turns

LOG = logging.getLogger("streamcodec.relay")

LISTEN_BACKLOG = 4_096  # after a restart everybody comes back at once
DELIVERIES_A_STEP = 64  # between two looks at the sockets
WATCH_INTERVAL_S = 0.25
REFRESH_INTERVAL_MS = 5_000.0
DOES = {Role.TALK: "talk", Role.LISTEN: "listen", Role.BOTH: "listen and talk"}
SENT_AWAY_AT_ONCE, FAREWELL_PAUSE_S = 20, 0.04  # 500 a second
LONGEST_FAREWELL = 1_500  # connections that are spread over time: 3 s


class Relay:
    """Connects websockets to Rooms. `async with Relay(config).running() as server` accepts
    connections until the block ends.
    """

    def __init__(
        self,
        config: RelayConfig,
        clock: Callable[[], float] = monotonic_ms,
        tell: Tell = tell_nobody,
        open_server: Callable[..., Awaitable[Any]] = accept_in_turns,
    ) -> None:
        """clock: time in ms from any origin, never going backwards. tell: takes what happens: who
        joins and leaves, and who is refused or ended, and why. No audio and no secrets.
        open_server: `accept_in_turns` wants real sockets; asyncio's servers accept all at once.
        """
        self.config, self.clock, self._tell = config, clock, tell
        self._open_server = open_server
        self.rooms = Rooms(config.limits, native_fan_out())
        self._connections: set[Connection] = set()
        self._all_gone = asyncio.Event()  # once it is going down
        self._work = asyncio.Event()  # something waits to be distributed
        self._busy = False  # with more than one step of that
        self.room_list = RoomList()
        self._turns, self._downloads = Turns(), Turns()  # one call of each in a round of the loop
        self._at_once = DELIVERIES_A_STEP  # deliveries that are left in this round of the loop
        self._draining = False
        self._refreshed_ms = clock()
        self.pulse = Pulse()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Accepting]:
        """Raises ConfigError if the address cannot be used. When the block ends, all connections
        are closed with 1012, which asks clients to come back.
        """
        server = await self._listen()
        turns = (self._turns.run, self._downloads.run)
        duties = (self._distribute, *turns, self._watch, self.pulse.run)
        tasks = [asyncio.create_task(run()) for run in duties]
        try:
            yield server
        finally:
            self._draining = True
            server.close()
            await server.wait_closed()
            await self._send_away()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._turns.finish()

    @property
    def connections(self) -> frozenset[Connection]:
        """All that are open, those that have said nothing yet included."""
        return frozenset(self._connections)

    def health(self) -> dict[str, object]:
        """What /healthz answers."""
        rooms = self.rooms.rooms.values()
        return {
            "status": "ok",
            "rooms": len(rooms),
            "talkers": sum(len(room.talkers) for room in rooms),
            "listeners": sum(room.listening for room in rooms),
            **self.rooms.counters.totals(),
            "loop_lag_ms": round(self.pulse.most_ms, 1),
        }

    @property
    def ready(self) -> bool:
        """Whether it takes new members, and can open rooms for them."""
        return not self._draining and not self.rooms.full

    def connected(self, connection: Connection) -> bool:
        """A client's TCP connection stands. False: its address has too many."""
        self._connections.add(connection)
        if self.config.proxies.include(connection.peer):
            return True  # its client counts, whom the request names
        return self._count(connection)

    def forwarded(self, connection: Connection, forwarded: Sequence[str]) -> bool:
        """A connection's request names for whom a proxy has made it, if one has. False: that client
        has too many.
        """
        if connection.counted:
            return True
        connection.address = self.config.proxies.client(forwarded) or connection.address
        return self._count(connection)

    def _count(self, connection: Connection) -> bool:
        connection.counted = True
        return self.rooms.addresses.connect(connection.address, self.clock())

    def disconnected(self, connection: Connection) -> None:
        """And is gone; its member leaves in its turn."""
        self._connections.discard(connection)
        if connection.counted:
            self.rooms.addresses.disconnect(connection.address, self.clock())
        if (member := connection.member) is not None:
            member.mailbox.close()
            self._turns.add(functools.partial(self._leave, member))
        if self._draining and not self._connections:
            self._all_gone.set()

    def dismissed(self, connection: Connection, code: CloseCode, reason: str) -> None:
        """Its member must go."""
        self._end(connection, Refused(code, reason))

    def shake_hands(self, connection: Connection) -> None:
        """Its request is whole."""
        self._turns.add(functools.partial(self._shake_hands, connection))

    def ended(self, connection: Connection) -> None:
        """The client sends nothing more."""
        self._turns.add(connection.abort)

    def answer(
        self, connection: Connection, protocol: ServerProtocol, request: Request
    ) -> Response | None:
        """To a request over HTTP; None: it may become a websocket."""
        return answer_request(self, connection, protocol, request)

    def silent(self, connection: Connection) -> None:
        """It has said no hello."""
        why = f"no hello within {self.config.hello_timeout_s:g} s"
        self._end(connection, Refused(CloseCode.POLICY_VIOLATION, why))

    def received(self, connection: Connection, message: str | bytes) -> None:
        """A message of a client."""
        if connection.closing:
            return
        member = connection.member
        try:
            if member is None:
                self._join(connection, message)
            elif isinstance(message, bytes):
                self.rooms.publish(member, message, self.clock())
            elif (control := parse_message(message)) is not None:
                self.rooms.control(member, control, self.clock())
            else:
                self.rooms.idle_frame(member, "messages", self.clock())
        except UnsupportedVersion as error:
            self._end(connection, Refused(CloseCode.VERSION, str(error)))
        except (MalformedPacket, MalformedMessage) as error:
            self._end(connection, Refused(CloseCode.MALFORMED, str(error)))
        except Refused as refused:
            self._end(connection, refused)
        if self.rooms.waiting:
            self.distribute()

    def resumed(self, mailbox: Mailbox) -> None:
        """What waits there can be written."""
        self.rooms.resume(mailbox)
        self.distribute()

    def idle_frame(self, connection: Connection, what: str) -> None:
        """Pings, pongs or fragments came: one of them."""
        if connection.member is None or connection.closing:
            return
        try:
            self.rooms.idle_frame(connection.member, what, self.clock())
        except Refused as refused:
            self._end(connection, refused)

    async def _listen(self) -> Accepting:
        config = self.config
        with listening_at(config.host, config.port) as where:
            server: Accepting = await self._open_server(
                where,
                lambda: Connection(self, config.hello_timeout_s, config.close_timeout_s),
                backlog=LISTEN_BACKLOG,
                tls=None if config.certificate is None else config.certificate.context,
                tls_timeout_s=config.hello_timeout_s,
            )
        return server

    async def _send_away(self) -> None:
        """Closes all connections, not all at once where they are many: they will come back, here or
        at another relay. Then waits until they are gone, for as long as a client may take.
        """
        why = Refused(CloseCode.SERVICE_RESTART, "the relay is going down; come back soon")
        for number, connection in enumerate(self.connections, start=1):
            self._end(connection, why)
            if number % SENT_AWAY_AT_ONCE == 0 and number < LONGEST_FAREWELL:
                await asyncio.sleep(FAREWELL_PAUSE_S)
        if self._connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.config.close_timeout_s):
                    await self._all_gone.wait()
        for connection in self.connections:
            connection.abort()
        if self._connections:
            await self._all_gone.wait()

    def _shake_hands(self, connection: Connection) -> None:
        connection.shake_hands()
        if connection.body and (transport := connection.transport) is not None:
            patience_s = self.config.download_timeout_s
            Download(connection, transport, self._downloads, patience_s).begin()

    def _join(self, connection: Connection, first: str | bytes) -> None:
        """Makes a member of whoever may come in. Raises Refused."""
        hello = hello_in(first)
        if not hello.token:
            hello = dataclasses.replace(hello, token=connection.bearer)
        hello, moderates = self._allowed(hello)
        member = self.rooms.join(
            hello, connection, connection.address, self.clock(), moderates=moderates
        )
        connection.joined(member)
        does, where = DOES[hello.role], connection.address
        self._tell(
            "joined",
            f"{member.name!r} joined {hello.room!r} to {does} from {where}",
            room=hello.room,
            name=member.name,
            member=member.number,
            role=str(hello.role),
            address=where,
        )

    def _leave(self, member: Member) -> None:
        room, now_ms = member.identity[0], self.clock()
        self.rooms.leave(member, now_ms)
        self._work.set()
        seconds, dropped = round((now_ms - member.joined_ms) / 1_000, 1), member.mailbox.dropped
        self._tell(
            "left",
            f"{member.name!r} left {room!r} after {seconds} s"
            + (f"; {dropped} packets were too old for it" if dropped else ""),
            room=room,
            name=member.name,
            member=member.number,
            seconds=seconds,
            dropped=dropped,
        )

    def _allowed(self, hello: Hello) -> tuple[Hello, bool]:
        """With the name that its token gives, and whether it moderates. Raises Refused."""
        try:
            return allowed(hello, self.config.keys)
        except Refused:
            self.rooms.counters.refused += 1
            raise

    def distribute(self) -> None:
        """Some of what waits for listeners at once, the rest in turns."""
        if self._busy or not self.rooms.waiting:
            return
        if self._at_once == DELIVERIES_A_STEP:
            asyncio.get_running_loop().call_soon(self._refill)
        self._at_once -= self.rooms.distribute(self.clock(), self._at_once)
        if self.rooms.waiting:
            self._busy = True
            self._work.set()

    def _refill(self) -> None:
        self._at_once = DELIVERIES_A_STEP

    async def _distribute(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            self._busy = True
            try:
                while self.rooms.waiting:
                    self.rooms.distribute(self.clock(), DELIVERIES_A_STEP)
                    await asyncio.sleep(0)
            finally:
                self._busy = False

    async def _watch(self) -> None:
        """Asks silent clients for a sign of life, and ends those that give none or take nothing."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            now_ms = self.clock()
            self._refresh(now_ms)
            await self._look_after_all(now_ms)

    def _refresh(self, now_ms: float) -> None:
        """Keys and a certificate that have been replaced count from now on."""
        if now_ms - self._refreshed_ms < REFRESH_INTERVAL_MS:
            return
        self._refreshed_ms = now_ms
        for renewed in (self.config.keys, self.config.certificate):
            if renewed is not None and (problem := renewed.refresh()) is not None:
                LOG.warning("%s; what was read before stays", problem)

    async def _look_after_all(self, now_ms: float) -> None:
        for number, connection in enumerate(self.connections):
            self._look_after(connection, now_ms)
            if number % 256 == 255:
                await asyncio.sleep(0)

    def _look_after(self, connection: Connection, now_ms: float) -> None:
        config = self.config
        blocked_ms = connection.blocked_ms
        patience_s = config.download_timeout_s if connection.body else config.stuck_timeout_s
        if blocked_ms is not None and now_ms - blocked_ms > 1_000 * patience_s:
            connection.abort()
            return
        mailbox = connection.mailbox
        if mailbox is None or connection.closing:
            return
        if mailbox.dropping_ms(now_ms) >= config.limits.too_slow_ms:
            self._end(connection, Refused(CloseCode.TOO_SLOW, "this listener reads too slowly"))
            return
        silent_s = (now_ms - connection.heard_ms) / 1_000
        if silent_s > config.ping_interval_s + config.ping_timeout_s:
            self._end(connection, Refused(CloseCode.INTERNAL_ERROR, "no answer to pings"))
        elif now_ms - connection.pinged_ms >= 1_000 * config.ping_interval_s:
            connection.pinged_ms = now_ms
            connection.ping()

    def _tell_refused(self, connection: Connection, refused: Refused) -> None:
        self._tell(
            "refused",
            f"refused {connection.address}: {refused} ({int(refused.code)})",
            address=connection.address,
            code=int(refused.code),
            reason=str(refused),
        )

    def _end(self, connection: Connection, why: Refused) -> None:
        """Says why, and closes a connection."""
        if connection.mailbox is not None:
            connection.mailbox.close()
        if connection.closing:
            return
        last = b""
        if why.code is not CloseCode.SERVICE_RESTART:
            self._tell_refused(connection, why)
            last = error_frame(why)
        connection.close(why.code, reason_of(why), last)
