"""wss:// with certificates of one's own, and URLs that say ws:// for wss:// or the reverse."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from certificates import make_certificate
from fakes import WAIT_S, FakeModel
from stand_in_relay import HELLO, Diary, StandInRelay, standing_in
from streamcodec.errors import ConfigError, ConnectionRefused
from streamcodec_client.cli import main
from streamcodec_client.clock import MonotonicClock
from streamcodec_client.gateway.member import MemberSettings
from streamcodec_client.gateway.server import Gateway, GatewayConfig
from streamcodec_client.live.codec import EncodingSettings
from streamcodec_client.transport.opening import route_to
from streamcodec_client.transport.relay import RelayTransport
from streamcodec_server.relay import Relay
from streamcodec_server.settings import RelayConfig

WSS = "wss://relay.example"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With cert.pem (for localhost, its own authority) and key.pem."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def relay(folder: Path) -> AsyncIterator[StandInRelay]:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    async with standing_in(StandInRelay(), ssl=server) as standing:
        yield standing


@pytest.fixture(autouse=True)
def authorities_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


async def connects(url: str, ca: Path | None = None) -> None:
    """Says hello and goodbye. Raises what `run` raises; the first failure is the end."""
    diary = Diary()
    client = RelayTransport(url, HELLO, [diary], MonotonicClock(), ca=ca, first_connection_s=0.0)
    async with asyncio.timeout(WAIT_S):
        running = asyncio.ensure_future(client.run())
        entry = asyncio.ensure_future(diary.next())
        await asyncio.wait([running, entry], return_when=asyncio.FIRST_COMPLETED)
        client.close()
        entry.cancel()
        await running
        assert entry.done()
        assert not entry.cancelled()


async def test_an_authority_of_ones_own(relay: StandInRelay, folder: Path) -> None:
    await connects(f"wss://localhost:{relay.port}", folder / "cert.pem")


async def test_ssl_cert_file(
    relay: StandInRelay, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "cert.pem"))
    await connects(f"wss://localhost:{relay.port}")


async def test_an_unknown_authority_is_refused_at_once_and_the_option_named(
    relay: StandInRelay,
) -> None:
    said = r"not trusted: self-signed certificate \(--ca FILE names an authority of your own\)$"
    with pytest.raises(ConnectionRefused, match=said):
        await connects(f"wss://localhost:{relay.port}")


async def test_a_certificate_for_another_name_is_refused(relay: StandInRelay, folder: Path) -> None:
    with pytest.raises(
        ConnectionRefused, match=r"not trusted: IP address mismatch.*'127\.0\.0\.1'"
    ):
        await connects(f"wss://127.0.0.1:{relay.port}", folder / "cert.pem")


async def test_ws_to_a_port_that_wants_tls(relay: StandInRelay) -> None:
    with pytest.raises(ConnectionRefused, match="the server speaks TLS: give a wss:// URL$"):
        await connects(f"ws://localhost:{relay.port}")


@pytest.mark.parametrize("complaint", [b"HTTP/1.1 400 Bad\r\n\r\n", b"HTTP/1.0 400 Bad\r\n\r\n"])
async def test_ws_to_a_web_server_that_wants_tls(folder: Path, complaint: bytes) -> None:
    """They answer in plain HTTP, and mean something else."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")

    def meet() -> None:
        for _ in range(2):
            raw, _ = listening.accept()
            with raw, contextlib.suppress(OSError):
                if raw.recv(1, socket.MSG_PEEK) == b"\x16":
                    server.wrap_socket(raw, server_side=True).close()
                else:
                    raw.recv(4096)
                    raw.sendall(complaint)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        meeting = asyncio.ensure_future(asyncio.to_thread(meet))
        with pytest.raises(ConnectionRefused, match="the server speaks TLS: give a wss:// URL$"):
            await connects(f"ws://127.0.0.1:{listening.getsockname()[1]}")
        await meeting


async def test_wss_to_a_relay_without_tls() -> None:
    async with Relay(RelayConfig(port=0)).running() as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(ConnectionRefused, match="does not speak TLS: give a ws:// URL$"):
            await connects(f"wss://localhost:{port}")


async def test_wss_to_a_server_that_closes_in_the_midst_of_tls() -> None:
    async def meet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(meet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionRefused, match="before TLS was there: is it ws://?"):
            await connects(f"wss://localhost:{port}")


async def test_commands_trust_the_authority(relay: StandInRelay, folder: Path) -> None:
    process = await command(
        *("listen", "--sink", "null", "--duration", "0.1", "--quiet"),
        *("--url", f"wss://localhost:{relay.port}", "--ca", str(folder / "cert.pem")),
    )
    _, errors = await process.communicate()
    assert process.returncode == 0
    # A talker of another model is in the room; nothing else is worth a line.
    assert errors.startswith(b"bert (stream 2) cannot be heard")
    assert errors.count(b"\n") == 1


async def test_commands_tell_at_once_why_there_is_no_relay(relay: StandInRelay) -> None:
    await relay.die()
    url = f"ws://127.0.0.1:{relay.port}"
    process = await command("listen", "--sink", "null", "--quiet", "--url", url)
    assert process.stderr is not None
    line = await process.stderr.readline()
    assert line == b"no connection: connection refused; trying again\n"
    process.terminate()
    assert await process.communicate() == (b"", b"")
    await relay.start()


async def command(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamcodec_client", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


async def test_members_of_a_gateway_trust_the_authority(relay: StandInRelay, folder: Path) -> None:
    settings = MemberSettings(
        f"wss://localhost:{relay.port}",
        FakeModel(),
        EncodingSettings(6_000),
        MonotonicClock(),
        folder / "cert.pem",
    )
    async with Gateway(GatewayConfig(port=0), settings).running() as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}/lobby") as client, asyncio.timeout(WAIT_S):
            while isinstance(event := await client.recv(), bytes):
                pass
    assert json.loads(event)["type"] == "connected"


@contextlib.contextmanager
def file_with(tmp_path: Path, text: str) -> Iterator[Path]:
    path = tmp_path / "ca.pem"
    path.write_text(text)
    yield path


@pytest.mark.parametrize("text", ["", "no PEM", "-----BEGIN PRIVATE KEY-----\n"])
def test_a_file_without_a_certificate_is_refused(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with file_with(tmp_path, text) as path:
        with pytest.raises(ConfigError, match=f"--ca: {path} holds no certificate"):
            route_to(WSS, path)
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        with pytest.raises(ConfigError, match=f"SSL_CERT_FILE: {path} holds no certificate"):
            route_to(WSS)


def test_a_missing_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "missing.pem"
    with pytest.raises(ConfigError, match=f"--ca: cannot read {path}: No such file"):
        route_to(WSS, path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(ConfigError, match=f"SSL_CERT_FILE: cannot read {path}: No such file"):
        route_to(WSS)
    assert route_to("ws://relay.example").tls is None  # which needs none


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"--ca: cannot read {tmp_path}: Is a directory"):
        route_to(WSS, tmp_path)


def test_an_authority_without_tls_is_refused(folder: Path) -> None:
    with pytest.raises(
        ConfigError, match="authorities .ca. are for wss:// URLs, got ws://relay.example"
    ):
        route_to("ws://relay.example", folder / "cert.pem")


@pytest.mark.parametrize(
    "arguments",
    [
        ["send", "--url", WSS, "--source", "tone"],
        ["listen", "--url", WSS, "--sink", "out.wav"],
        ["talk", "--url", WSS, "--source", "tone", "--sink", "out.wav"],
        ["gateway", "--relay", WSS],
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands_check_the_file_before_anything_else(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out.wav").write_text("a recording")
    assert main([*arguments, "--ca", "missing.pem"]) == 2
    said = "streamcodec: --ca: cannot read missing.pem: No such file or directory\n"
    assert capsys.readouterr().err == said
    assert Path("out.wav").read_text() == "a recording"
