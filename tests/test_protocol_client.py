"""A client in another language, written from docs/protocol.md alone."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from pathlib import Path

import pytest

from relay_clients import PATIENCE_S, relay
from streamcodec_server.tokens import Grant, Keys, new_key

NODE = shutil.which("node")
CLIENT = Path(__file__).parent / "protocol_client.mjs"

pytestmark = pytest.mark.skipif(NODE is None, reason="Node is not here")


async def said(url: str, token: str) -> dict[str, object]:
    assert NODE is not None
    flags = ["--no-warnings", "--experimental-websocket"]
    process = await asyncio.create_subprocess_exec(
        *(NODE, *flags, str(CLIENT), url, token),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_S):
        output, errors = await process.communicate()
    if b"bad option" in errors:
        pytest.skip("this Node has no websockets")
    assert errors == b""
    heard: dict[str, object] = json.loads(output)
    return heard


async def test_a_client_in_javascript_joins_talks_and_listens(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text("[keys]\n" + new_key("one"))
    keys = Keys(file)
    async with relay(keys=keys) as (_, _, url):
        heard = await said(url, keys.sign(Grant(("hall",)), 60, time.time()))
        refused = await said(url, "none")
    assert refused["code"] == 4401
    assert heard["copies_wanted"] == 4
    messages, packets = heard["messages"], heard["packets"]
    assert isinstance(messages, list)
    assert isinstance(packets, list)
    kinds = [message["type"] for message in messages]
    assert kinds == ["welcome", "stream_start", "mute", "stream_end"]
    stream = messages[1]["stream"]
    assert messages[1]["name"] == "Ada"
    common = {"stream": stream}
    assert [packet.pop("short") for packet in packets] == [False, False, True, True, True]
    for n, packet in enumerate(packets):
        assert (packet.pop("sequence"), packet.pop("capture_time")) == (n, 320 * n)
    assert packets == [
        {**common, "type": 0, "flags": 1, "payload": [1, 2, 3]},
        {
            **common,
            "type": 2,
            "flags": 0,
            "copy": {"back": 1, "payload": [8, 9]},
            "payload": [4, 5],
        },
        {**common, "type": 0, "flags": 2, "payload": [6]},
        {**common, "type": 0, "flags": 2, "payload": [7]},
        {**common, "type": 0, "flags": 4, "payload": []},
    ]
