"""End-to-end encryption: RFC 9605's vectors, and who hears what."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_rooms import level, room
from fakes import (
    WAIT_S,
    FakeModel,
    ManualClock,
    MemoryTransport,
    ScriptedSource,
    fake_payload,
)
from listening_room import Room as ListeningRoom
from streamcodec.errors import ConfigError
from streamcodec.wire.packet import (
    MAX_PAYLOAD_BYTES,
    SEQUENCE_MODULUS,
    Flags,
    Packet,
    PacketType,
    parse,
    restamp,
    serialize,
)
from streamcodec.wire.redundancy import join, limited, separate
from streamcodec.wire.session import Welcome
from streamcodec_client.audio.blocks import Block
from streamcodec_client.live.codec import EncodingSettings
from streamcodec_client.live.encryption import REPLAY_WINDOW, RoomKey, Sealer
from streamcodec_client.live.sender import Sender
from streamcodec_client.live.sframe import TAG_BYTES, NotOpened, SFrame, header
from test_live import relay

PASSPHRASE = "correct horse battery"
KEY, OTHER = RoomKey(PASSPHRASE, "a"), RoomKey(PASSPHRASE + "!", "a")


# --- vectors of RFC 9605, appendix C -------------------------------------------------------------


@pytest.mark.parametrize(
    ("key_id", "counter", "encoded"),
    [
        (0, 0, "00"),
        (0, 1, "01"),
        (0, 255, "08ff"),
        (0, 256, "090100"),
        (1, 0, "10"),
        (255, 0, "80ff"),
        (0x123, 0x4567, "9901234567"),
    ],
)
def test_headers_are_those_of_the_rfc(key_id: int, counter: int, encoded: str) -> None:
    assert header(key_id, counter).hex() == encoded


def test_text_is_sealed_as_in_the_rfc() -> None:
    """Appendix C.3, cipher suite 0x0003."""
    base_key = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
    metadata = bytes.fromhex("4945544620534672616d65205747")
    plain = bytes.fromhex("64726166742d696574662d736672616d652d656e63")
    sealed = "990123456717fc8af28a5a695afcfc6c8df6358a17e26b2fcb3bae32e443"
    sframe = SFrame(base_key, 0x123)
    ours = sframe.seal(0x4567, metadata, plain)
    assert (header(0x123, 0x4567) + ours).hex() == sealed
    assert sframe.open(0x4567, metadata, ours) == plain


def test_whatever_is_changed_is_noticed() -> None:
    sframe = SFrame(bytes(16), 9)
    sealed = sframe.seal(7, b"meta", b"what was said")
    for n in range(len(sealed)):
        changed = sealed[:n] + bytes([sealed[n] ^ 1]) + sealed[n + 1 :]
        with pytest.raises(NotOpened):
            sframe.open(7, b"meta", changed)
    for counter, metadata, key_id in ((8, b"meta", 9), (7, b"Meta", 9), (7, b"meta", 10)):
        with pytest.raises(NotOpened):
            SFrame(bytes(16), key_id).open(counter, metadata, sealed)
    for short in (b"", sealed[:TAG_BYTES], sealed[:3]):
        with pytest.raises(NotOpened):
            sframe.open(7, b"meta", short)


# --- packets -------------------------------------------------------------------------------------


def packet(sequence: int, payload: bytes = b"voice", flags: Flags = Flags.VOICE) -> Packet:
    return Packet(flags, 9, sequence, 320 * sequence % SEQUENCE_MODULUS, payload)


def carrying(sequence: int, copy: bytes, distance: int = 4) -> Packet:
    payload = join(copy, distance, b"voice")
    return dataclasses.replace(packet(sequence, payload), type=PacketType.AUDIO_WITH_COPY)


@given(st.integers(0, SEQUENCE_MODULUS - 1), st.binary(max_size=300), st.integers(0, 15))
def test_a_packet_is_opened_as_it_was_sealed(sequence: int, payload: bytes, flags: int) -> None:
    sealer = KEY.sealer()
    said = packet(sequence, payload or b"x", Flags(flags))
    sealed = sealer.seal(said)
    assert len(sealed.payload) == len(said.payload) + TAG_BYTES
    assert KEY.opener(sealer.key_id).open(sealed) == said


@pytest.mark.parametrize("sequence", [100, 2])  # the copy's number wraps
def test_a_copy_is_opened_and_may_be_taken_out_by_the_relay(sequence: int) -> None:
    sealer = KEY.sealer()
    datagram = restamp(serialize(sealer.seal(carrying(sequence, b"coarse"))), 77)
    whole, copy = separate(parse(datagram), 320)
    plain, none = separate(parse(limited(datagram, 0)), 320)
    assert copy is not None
    assert none is None
    for form in (whole, plain):
        assert KEY.opener(sealer.key_id).open(form).payload == b"voice"
    assert KEY.opener(sealer.key_id).open_copy(copy).payload == b"coarse"
    with pytest.raises(NotOpened):
        OTHER.opener(sealer.key_id).open_copy(copy)


def test_a_copy_that_would_become_too_long_is_left_out() -> None:
    sealed = KEY.sealer().seal(carrying(9, bytes(316)))
    assert sealed.type == PacketType.AUDIO
    assert len(serialize(sealed)) < MAX_PAYLOAD_BYTES


def test_silence_is_authenticated_too() -> None:
    sealer = KEY.sealer()
    sealed = sealer.seal(packet(1, b"", Flags.DTX))
    assert len(sealed.payload) == TAG_BYTES
    assert KEY.opener(sealer.key_id).open(sealed).payload == b""


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": 11},
        {"capture_time": 1},
        {"flags": Flags.DTX},
        {"flags": Flags.VOICE | Flags.RESET},
        {"payload": b"something else"},
    ],
)
def test_a_relay_cannot_change_what_is_said(change: dict[str, object]) -> None:
    sealer = KEY.sealer()
    sealed = sealer.seal(packet(10))
    opener = KEY.opener(sealer.key_id)
    with pytest.raises(NotOpened, match="another key, or changed on the way"):
        opener.open(dataclasses.replace(sealed, **change))  # type: ignore[arg-type]
    assert opener.open(sealed) == packet(10)


def test_nothing_is_opened_twice() -> None:
    sealer = KEY.sealer()
    sealed = {n: sealer.seal(packet(n)) for n in (0, 5, 4, 3, 3 + REPLAY_WINDOW, 9_000)}
    opener = KEY.opener(sealer.key_id)
    for n in (0, 5, 4):
        opener.open(sealed[n])
    for n in (0, 5, 4):
        with pytest.raises(NotOpened, match="it came before"):
            opener.open(sealed[n])
    opener.open(sealed[3 + REPLAY_WINDOW])
    with pytest.raises(NotOpened, match="it came before"):
        opener.open(sealed[3])  # never opened, but so old that it may have been
    opener.open(sealed[9_000])
    with pytest.raises(NotOpened, match="it came before"):
        opener.open(sealed[9_000])


def test_two_talkers_have_two_keys() -> None:
    one, other = KEY.sealer(), KEY.sealer()
    assert one.key_id != other.key_id
    assert one.seal(packet(1)).payload != other.seal(packet(1)).payload
    with pytest.raises(NotOpened):
        KEY.opener(other.key_id).open(one.seal(packet(1)))


def test_the_same_passphrase_is_another_key_in_another_room() -> None:
    sealer = KEY.sealer()
    with pytest.raises(NotOpened):
        RoomKey(PASSPHRASE, "b").opener(sealer.key_id).open(sealer.seal(packet(1)))


# --- passphrases ---------------------------------------------------------------------------------


def test_the_first_line_of_a_file_is_the_passphrase(tmp_path: Path) -> None:
    for text in (PASSPHRASE, PASSPHRASE + "\n", PASSPHRASE + "\r\nnotes"):
        (tmp_path / "p").write_bytes(text.encode())
        sealer = RoomKey.of_file(tmp_path / "p", "a").sealer()
        assert KEY.opener(sealer.key_id).open(sealer.seal(packet(1))) == packet(1)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"short", "at least 12 characters, got 5"),
        (b"", "at least 12 characters, got 0"),
        (b"\xff" * 20, "it is no UTF-8 text"),
    ],
)
def test_a_bad_passphrase_is_named(content: bytes, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(ConfigError, match=complaint):
        RoomKey.of_file(tmp_path / "p", "a")
    with pytest.raises(ConfigError, match="passphrase .*none: No such file"):
        RoomKey.of_file(tmp_path / "none", "a")


# --- sender and receiver -------------------------------------------------------------------------


def words(*levels: float) -> ScriptedSource:
    """10 ms each, captured as they are asked for."""
    ms = 1_000_000
    blocks = [
        Block(np.full((160, 1), level, np.float32), 160 * n, (n + 1) * 10 * ms)
        for n, level in enumerate(levels)
    ]
    source = ScriptedSource(blocks)
    source.end()
    return source


async def sent(key: RoomKey | None) -> tuple[Sender, list[bytes]]:
    transport = MemoryTransport()
    sender = Sender(
        FakeModel(), words(*[0.5] * 8), EncodingSettings(bitrate_bps=6_000), ManualClock(), key=key
    )
    sender.connected(Welcome("session", "lobby", 1, (), 1, 0), 1)
    await sender.run(transport)
    return sender, transport.datagrams


@dataclasses.dataclass
class Hearing:
    levels: list[float]
    notices: list[str]
    malformed: int


async def heard(sender: Sender, datagrams: list[bytes], key: RoomKey | None) -> Hearing:
    room = ListeningRoom(key=key)
    room.welcome()
    room.joins(9, sender.info)
    for datagram in datagrams:
        room.receiver.media(restamp(datagram, 9), room.clock.now_ns())
    levels = await room.hears(12)
    await room.close()
    return Hearing(levels, room.notices, room.receiver.statistics().malformed)


async def test_who_has_the_passphrase_hears_what_is_said() -> None:
    sender, datagrams = await sent(KEY)
    said = [parse(d).payload for d in datagrams]
    assert fake_payload(0.5) not in said
    assert sender.info.key_id
    assert 0.5 in (await heard(sender, datagrams, KEY)).levels


async def test_another_passphrase_hears_nothing_and_is_told_once() -> None:
    sender, datagrams = await sent(KEY)
    room = await heard(sender, datagrams, OTHER)
    assert set(room.levels) == {0.0}
    (notice,) = room.notices
    assert "talker 9 (stream 9) cannot be heard: a packet is no use, because it was" in notice
    assert room.malformed == len(datagrams)


async def test_who_has_no_passphrase_is_told_that_there_is_one() -> None:
    sender, datagrams = await sent(KEY)
    room = await heard(sender, datagrams, None)
    assert set(room.levels) == {0.0}
    assert room.notices == [
        "talker 9 (stream 9) cannot be heard: it is encrypted: see --passphrase-file"
    ]


async def test_who_has_one_hears_nobody_who_does_not_encrypt() -> None:
    sender, datagrams = await sent(None)
    assert sender.info.key_id == ""
    room = await heard(sender, datagrams, KEY)
    assert set(room.levels) == {0.0}
    assert "it is not encrypted, and you have given a passphrase" in room.notices[0]
    assert 0.5 in (await heard(sender, datagrams, None)).levels


async def test_no_number_is_used_twice_whatever_breaks() -> None:
    """Two texts under one counter would give both away."""
    used: list[int] = []

    class Counting(RoomKey):
        def sealer(self) -> Sealer:
            sealer = super().sealer()
            seal = sealer.seal

            def noted(packet: Packet) -> Packet:
                used.append(packet.sequence)
                return seal(packet)

            sealer.seal = noted  # type: ignore[method-assign]
            return sealer

    transport, source = MemoryTransport(), ScriptedSource()
    clock = ManualClock()
    settings = EncodingSettings(bitrate_bps=6_000)
    sender = Sender(FakeModel(), source, settings, clock, key=Counting(PASSPHRASE, "a"))
    sender.connected(Welcome("session", "lobby", 1, (), 1, 0), 1)
    running = asyncio.ensure_future(sender.run(transport))
    for n in range(30):
        transport.connection = None if n % 10 == 5 else 1 + n // 10
        source.put(Block(np.full((320, 1), 0.5, np.float32), 320 * n, (n + 1) * 20_000_000))
        clock.advance(20)
        await asyncio.sleep(0.005)
    source.end()
    await running
    assert len(used) > 10
    assert len(set(used)) == len(used)


async def test_a_room_of_a_real_relay_is_encrypted() -> None:
    async with relay() as port:
        url = f"ws://127.0.0.1:{port}"
        async with room(url, KEY, name="Ada", talk=False) as ada, room(url, KEY, name="Bo") as bo:
            frames = ada.listen()
            talking = asyncio.ensure_future(bo.send(level(0.5, 1)))
            async with asyncio.timeout(WAIT_S):
                async for frame in frames:
                    if np.abs(frame.pcm - 0.5).max() < 0.01:
                        break
            await talking
