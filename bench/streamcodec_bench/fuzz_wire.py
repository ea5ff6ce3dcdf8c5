"""Whatever strangers send is read or refused by name, and nothing else happens: `python -m
streamcodec_bench.fuzz_wire --inputs 10000000`.

Valid frames, packets and messages, with bytes changed, cut out, doubled and mixed, go through what
a relay reads them with, and as a session through its rooms.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter

import click

from streamcodec.errors import MalformedMessage, MalformedPacket
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.packet import Flags, Packet, PacketType, check, serialize
from streamcodec.wire.redundancy import copy_distance, join
from streamcodec.wire.session import (
    Capture,
    CloseCode,
    Hello,
    Message,
    Mute,
    Remove,
    Report,
    Role,
    Silence,
    StreamInfo,
    StreamUpdate,
    Time,
    Who,
)
from streamcodec.wire.short_headers import Restorer, Shortener
from streamcodec_server.framing import Framing
from streamcodec_server.limits import RoomLimits
from streamcodec_server.members import Member
from streamcodec_server.refused import Refused
from streamcodec_server.rooms import Rooms

from .load_clients import masked

INFO = StreamInfo("0123456789abcdef", 16_000, 1, 320, 5, 6_000, 4)
MESSAGES: tuple[Message, ...] = (
    Hello(Role.BOTH, "a", "Ada", INFO, copies=4),
    StreamUpdate(INFO),
    Report(1, {"lost": 3.0, "mos": 4.2}),
    Mute(True),
    Time(5.25),
    Capture(320, 99.5),
    Who(),
    Remove(1),
    Silence(1, True),
)
SESSION_EVERY = 4  # inputs
MEMBERS = 8
ODD = (b"-1", b"1e999", b"null", b"[]", b'"x"', b"99999999999999999999")  # values in JSON


class _Outlet:
    """Takes everything, or nothing for a while."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.writable, self.descriptor = True, -1

    def write(self, frame: bytes) -> None:
        self.writable = self._rng.random() < 0.9

    def abort(self) -> None:
        self.writable = False

    def dismiss(self, code: CloseCode, reason: str) -> None:
        self.writable = False


class Fuzz:
    """Inputs drawn with a seed, and what became of them by outcome."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - a simulation
        self.outcomes: Counter[str] = Counter()
        self._rooms = Rooms(RoomLimits(max_rooms=20, packets_per_s=1e9, control_per_s=1e9))
        self._members: list[Member] = []
        self._restorer, self._shortener = Restorer(one_stream=True), Shortener()
        self._now_ms = 0.0

    def run(self, inputs: int) -> None:
        """Raises what no caller expects."""
        for number in range(inputs):
            data = self._mutated(self._valid(number))
            self._read(data)
            if number % SESSION_EVERY == 0:
                self._say(data)

    def _valid(self, number: int) -> bytes:
        rng = self._rng
        if rng.random() < 0.5:
            return serialize_message(rng.choice(MESSAGES)).encode()
        payload, kind = rng.randbytes(rng.randint(1, 30)), PacketType.AUDIO
        if rng.random() < 0.3:
            payload = join(rng.randbytes(rng.randint(1, 80)), rng.randint(1, 4), payload)
            kind = PacketType.AUDIO_WITH_COPY
        flags, captured = Flags(rng.randrange(16)), 320 * number % (1 << 32)
        packet = Packet(flags, 1, number, captured, payload, kind)
        datagram = serialize(packet)
        return self._shortener.shorten(datagram) if rng.random() < 0.8 else datagram

    def _mutated(self, data: bytes) -> bytes:
        rng = self._rng
        for _ in range(rng.choice((0, 1, 1, 2, 5))):
            at, what = rng.randrange(len(data) + 1), rng.randrange(5)
            if what == 0 and data:
                at = rng.randrange(len(data))
                data = data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
            elif what == 1:
                data = data[:at]
            elif what == 2:
                data = data[:at] + rng.randbytes(rng.randint(1, 6)) + data[at:]
            elif what == 3:
                data = data[:at] + data[max(0, at - 20) :]
            else:
                data = data[:at] + rng.choice(ODD) + data[at + 1 :]
        return data[:1_400]

    def _read(self, data: bytes) -> None:
        """Each reader by itself."""
        framing = Framing(most_bytes=4_096)
        frame = masked(2, data[:125])
        framing.add(self._mutated(frame) if self._rng.random() < 0.5 else frame)
        while framing.next() is not None:
            self.outcomes["frame"] += 1
        try:
            datagram = self._restorer.restore(data)
            check(datagram)
            copy_distance(datagram)
            self.outcomes["packet"] += 1
        except MalformedPacket:
            self.outcomes["no packet"] += 1
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return
        try:
            message = parse_message(text)
            self.outcomes["message" if message is not None else "of another version"] += 1
            if message is not None:
                serialize_message(message)
        except MalformedMessage:
            self.outcomes["no message"] += 1

    def _say(self, data: bytes) -> None:
        """As a member of a room, who is ended where a relay would end it."""
        rng, rooms = self._rng, self._rooms
        self._now_ms += rng.choice((0.0, 1.0, 20.0, 1_000.0))
        if len(self._members) < MEMBERS or rng.random() < 0.02:
            self._join()
            return
        member = rng.choice(self._members)
        try:
            if data[:1] == b"{":
                message = parse_message(data.decode())
                if message is not None:
                    rooms.control(member, message, self._now_ms)
            else:
                rooms.publish(member, data, self._now_ms)
            self.outcomes["taken"] += 1
        except (Refused, MalformedMessage, MalformedPacket, UnicodeDecodeError):
            self.outcomes["ended"] += 1
            self._members.remove(member)
            rooms.leave(member, self._now_ms)
        while rooms.waiting:
            rooms.distribute(self._now_ms, 100)
        if rng.random() < 0.1:
            member.mailbox.flush(self._now_ms)

    def _join(self) -> None:
        rng = self._rng
        role = rng.choice(tuple(Role))
        info = INFO if role.talks else None
        hello = Hello(role, rng.choice("ab"), "Ada", info, copies=rng.randint(0, 4))
        try:
            moderates = rng.random() < 0.3
            address = str(rng.randrange(30))
            joined = self._rooms.join(
                hello, _Outlet(rng), address, self._now_ms, moderates=moderates
            )
        except Refused:
            self.outcomes["refused"] += 1
            return
        self._members.append(joined)
        if len(self._members) > MEMBERS:
            self._rooms.leave(self._members.pop(0), self._now_ms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    fuzz, began = Fuzz(asked.seed), time.monotonic()
    fuzz.run(asked.inputs)
    seconds = time.monotonic() - began
    click.echo(f"{asked.inputs} inputs in {seconds:.0f} s, nothing unexpected:")
    for outcome, count in sorted(fuzz.outcomes.items()):
        click.echo(f"  {outcome}: {count}")


if __name__ == "__main__":
    main()
