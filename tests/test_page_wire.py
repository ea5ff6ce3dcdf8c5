"""The page's wire formats, its connection to the relay and its bookkeeping of what it sends: in
Node, against docs/protocol.md, and against what Python makes of the same input.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamcodec.coding.rate import rate_control
from streamcodec.config import CodecConfig
from streamcodec.errors import MalformedMessage, MalformedPacket
from streamcodec.units import NS
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.packet import SEQUENCE_MODULUS, Flags, Packet, parse, serialize
from streamcodec.wire.redundancy import CopyHistory, separate
from streamcodec.wire.session import Report
from streamcodec.wire.short_headers import Restorer, Shortener
from streamcodec_client.live.copying import CopyPolicy

NODE = shutil.which("node")
ROOT = Path(__file__).parents[1]
CORE = ROOT / "server" / "streamcodec_server" / "page" / "core.js"
PROTOCOL = ROOT / "docs" / "protocol.md"
SCRIPTS = ("page_wire.mjs", "page_connection.mjs", "page_room.mjs", "page_talker.mjs")
PACKET_SAMPLES = 320
# Of three levels, and two more with the waveform layer, which a page does not encode.
RATES_BPS = [1_500.0, 2_400.0, 3_900.0, 5_500.0, 8_000.0, 7_000.0, 12_000.0]
BASE_LEVELS = 5
VALID = [
    "30000000000000000000000000",
    "300300010000000000000000a1b2c3",
    "3008ffffffffffffffffffff01",
    "30040003000000070000000a",
    "3202000500000009000012c0" + "43aabbcc" + "d1d2",
    "3202000500000000000000a0" + "ff00" + "cc" * 63 + "d1",
    "3202000500000001ffffff00" + "bf05" + "ab" * 68 + "e1e2e3",
]
MALFORMED = [
    "",
    "30",
    "3000000000000000000000",  # eleven bytes
    "300000000000000000000000",  # nothing in it, and no DTX
    "20000000000000000000000000",  # version 2
    "40000000000000000000000000",
    "38020009aabb",  # a short header that nothing came before
    "300000000000000000000000" + "00" * 1201,
    "320200050000000900000140",  # a copy is announced, and there is none
    "32020005000000090000014041",
    "32020005000000090000014001aa",  # the copy, and no payload behind it
    "32020005000000090000014000aa",  # a copy of no bytes
    "3202000500000009000001403f",
    "3202000500000009000001403f10" + "cc" * 79,
]


def names_of_checks(script: str) -> list[str]:
    text = (Path(__file__).parent / script).read_text()
    return re.findall(r"^  (\w+)\(\) \{$", text[text.index("const checks = {") :], re.M)


CHECKS = [name for script in SCRIPTS for name in names_of_checks(script)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """What each check said."""
    if NODE is None:
        pytest.skip("Node is not here")
    if not CORE.exists():
        pytest.skip(f"the page has not been built: {CORE} is not there")
    cases = tmp_path_factory.mktemp("page") / "cases.json"
    cases.write_text(json.dumps(made_cases(random.Random(7))))
    results: dict[str, str | None] = {}
    for script in SCRIPTS:
        command = [NODE, str(Path(__file__).parent / script), str(CORE), str(PROTOCOL), str(cases)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        results |= json.loads(done.stdout)
    return results


@pytest.mark.parametrize("check", CHECKS)
def test_in_node(found: dict[str, str | None], check: str) -> None:
    assert found[check] is None, found[check]


def test_every_check_was_made(found: dict[str, str | None]) -> None:
    assert sorted(CHECKS) == sorted(found)


# --- what Python says of the same input ----------------------------------------------------------


def made_cases(rng: random.Random) -> dict[str, Any]:
    return {
        "packet_samples": PACKET_SAMPLES,
        "datagrams": [reading(datagram) for datagram in datagrams(rng)],
        "connections": [connection(rng) for _ in range(40)],
        "messages": messages(),
        "copies": copies(rng),
        "rates": rates(rng),
        "policy": policy(rng),
    }


def datagrams(rng: random.Random) -> Iterator[bytes]:
    yield from map(bytes.fromhex, VALID + MALFORMED)
    for _ in range(600):
        yield mutated(bytes.fromhex(rng.choice(VALID)), rng)


def mutated(datagram: bytes, rng: random.Random) -> bytes:
    """The same with some bytes changed, left out or put in."""
    changed = bytearray(datagram)
    for _ in range(rng.randint(1, 3)):
        # most of what is checked stands in front
        at = rng.randrange(min(len(changed), rng.choice([2, 15, 2_000])) or 1)
        match rng.randrange(4):
            case 0:
                changed[at : at + 1] = rng.randbytes(1)
            case 1:
                del changed[at : at + rng.choice([1, 4])]
            case 2:
                changed[at:at] = rng.randbytes(rng.choice([1, 2, 60]))
            case _:
                del changed[rng.randint(0, len(changed)) :]
    return bytes(changed)


def reading(datagram: bytes) -> dict[str, Any]:
    packet: Any = "refused"
    parts: Any = "refused"
    try:
        read = parse(datagram)
        packet = [read.type, int(read.flags), read.stream, read.sequence, read.capture_time]
        packet.append(read.payload.hex())
        own, copy = separate(read, PACKET_SAMPLES)
        carried = copy and [copy.sequence, copy.capture_time, copy.payload.hex()]
        parts = [own.type, own.payload.hex(), carried]
    except MalformedPacket:
        pass
    return {"datagram": datagram.hex(), "packet": packet, "parts": parts}


def connection(rng: random.Random) -> list[dict[str, Any]]:
    """Frames of two streams, some damaged, and what is restored of them."""
    shorteners, restorer = [Shortener(), Shortener()], Restorer()
    again: dict[int, Shortener] = {}
    counters = [(SEQUENCE_MODULUS - 3, SEQUENCE_MODULUS - 700), (9, 0)]
    frames = []
    for _ in range(30):
        stream = rng.randrange(2)
        sequence, captured = counters[stream]
        packet = Packet(Flags.VOICE, stream, sequence, captured, rng.randbytes(3))
        sequence += rng.choice([1, 1, 1, 1, 1, 2])
        captured += rng.choice([320, 320, 320, 320, 960, 0])
        counters[stream] = sequence % SEQUENCE_MODULUS, captured % SEQUENCE_MODULUS
        frame = shorteners[stream].shorten(serialize(packet))
        if rng.random() < 0.1:
            short = bytes.fromhex(f"3802{stream:04x}")
            frame = rng.choice([mutated(frame, rng), short, short + bytes(1_201), short[:3]])
        whole, shortened = "refused", ""
        try:
            restored = restorer.restore(frame)
            whole = restored.hex()
            shortener = again.setdefault(parse(restored).stream, Shortener())
            shortened = shortener.shorten(restored).hex()
        except MalformedPacket:
            pass
        frames.append({"frame": frame.hex(), "whole": whole, "shortened": shortened})
    return frames


ODD_NUMBERS = [-1, 1.5, 5, 65_536, 1 << 60, 10**19]
ODD_TEXTS = [
    "",
    "x",
    "é" * 64,
    "é" * 65,
    "a\u200bb",
    "a\u00a0b",
    "a\nb",
    "\ud800",
    "\U0001f600" * 64,
]
ODD_OTHERS = [None, True, [], {}, ["a"] * 17, [1], {"lost": -1}, {"mos": 6}]
ODD: list[Any] = [*ODD_NUMBERS, *ODD_TEXTS, *ODD_OTHERS]


def messages() -> list[dict[str, Any]]:
    """The examples of the protocol, and each of them with one field missing or odd."""
    found = re.search(r"```json\n(.*?)```", PROTOCOL.read_text(), re.S)
    assert found is not None
    examples = [json.loads(line) for line in found[1].splitlines()]
    examples.append({"type": "listening", "listeners": 2, "names": ["Lis", "Zoë"]})
    examples.append({"type": "report", "stream": 1, "statistics": {"ofLater_kind": 1, "mos": 4}})
    known = [e for e in examples if e["type"] not in ("who", "members", "remove", "silence")]
    texts = ["", "[]", "3", '{"type":3}', "{}", '{"type":"mute"', "null"]
    for example in known:
        texts.append(json.dumps({**example, "later": [1]}))
        for variant in variants(example):
            # of a type that this version does not know nothing is said
            if isinstance(variant, dict) and variant.get("type") in ("x", ""):
                continue
            texts.append(json.dumps(variant))
    return [{"text": text, "message": canonical(text)} for text in texts]


def variants(value: Any) -> Iterator[Any]:
    """A JSON value with one part of it missing or odd."""
    if not isinstance(value, dict | list):
        return
    for key, held in list(value.items() if isinstance(value, dict) else enumerate(value)):
        for odd in ODD:
            if key != "type" or not isinstance(odd, str):
                yield replaced(value, key, odd)
        if isinstance(value, dict):
            yield {k: v for k, v in value.items() if k != key}
        for inner in variants(held):
            yield replaced(value, key, inner)


def replaced(value: Any, key: Any, held: Any) -> Any:
    changed = value.copy()
    changed[key] = held
    return changed


def canonical(text: str) -> Any:
    try:
        message = parse_message(text)
    except MalformedMessage:
        return "refused"
    assert message is not None
    return json.loads(serialize_message(message))


def copies(rng: random.Random) -> list[dict[str, Any]]:
    """A talker's packets with pauses, resets and changing distances."""
    history = CopyHistory(4, PACKET_SAMPLES)
    captured, sent = SEQUENCE_MODULUS - 3_200, []
    for sequence in range(200):
        history.distance = rng.choice([0, 2, 4, 4]) if sequence % 10 == 0 else history.distance
        jump = rng.random() < 0.05
        flags = Flags.RESET if sequence == 0 or rng.random() < 0.05 else Flags.VOICE
        captured = (captured + PACKET_SAMPLES + 77 * jump) % SEQUENCE_MODULUS
        size = rng.choice([1, 20, 62, 63, 64, 300, 1_150])
        packet = Packet(flags, 0, sequence, captured, rng.randbytes(size))
        copy = rng.randbytes(rng.choice([0, 1, 20, 62, 63, 200, 318, 319]))
        carried = history.add(packet, copy)
        sent.append(
            {
                "distance": history.distance,
                "packet": [int(flags), sequence, captured, packet.payload.hex()],
                "copy": copy.hex(),
                "sent": serialize(carried).hex(),
            }
        )
    return sent


def rates(rng: random.Random) -> dict[str, Any]:
    config = CodecConfig(16_000, PACKET_SAMPLES, 80, PACKET_SAMPLES)
    runs = []
    for bitrate_bps in (1_500, 1_600, 2_400, 3_000, 5_555, 7_500):
        control = rate_control(
            RATES_BPS,
            BASE_LEVELS,
            config,
            bitrate_bps=bitrate_bps,
            quality=None,
            level=None,
            capped=False,
        )
        sizes, levels = [], []
        for packet in range(400):
            level = control.next_level()
            busy = (0.1 if packet // 50 % 3 == 0 else 1.3) * rng.lognormvariate(0, 0.4)
            size = max(1, round(RATES_BPS[level] * busy * 0.02 / 8)) + rng.choice([0, 0.25])
            control.spent(size, level)
            sizes.append(size)
            levels.append(level)
        runs.append(
            {
                "bitrate_bps": bitrate_bps,
                "base_level": control.base_level,
                "sizes": sizes,
                "levels": levels,
            }
        )
    facts = {
        "hash": "0123456789abcdef",
        "sampleRate": 16_000,
        "packetSamples": PACKET_SAMPLES,
        "levelBitratesBps": RATES_BPS,
        "baseLevels": BASE_LEVELS,
    }
    return {"facts": facts, "runs": runs}


def policy(rng: random.Random) -> list[dict[str, Any]]:
    """Reports of three listeners over some minutes, with spells of losses. One counts anew."""
    copying = CopyPolicy(None)
    counts = [[0.0, 0.0] for _ in range(3)]
    spells = {0: [*range(10), *range(190, 194)], 1: [*range(20, 40), *range(100, 130)], 2: range(0)}
    reports = []
    for second, listener in itertools.product(range(240), range(3)):
        received, lost = counts[listener]
        if (second, listener) == (190, 0):
            received = lost = 0
        missed = 5 if second in spells[listener] else rng.random() < 0.02
        received, lost = counts[listener] = [received + 50 - missed, lost + missed]
        silent = rng.random() < 0.05
        taken = 2 if 60 <= second < 110 else 4
        statistics = {} if silent else {"received": received, "lost": lost}
        copying.take(taken)
        copying.add(Report(1, statistics, "Lis", listener), second * NS)
        reports.append(
            {
                "at_ms": second * 1_000,
                "taken": taken,
                "listener": listener,
                "received": None if silent else received,
                "lost": None if silent else lost,
                "distance": copying.distance,
            }
        )
    return reports
