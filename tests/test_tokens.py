"""Who may do what in which room: tokens, their keys, and what a relay does with them."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import time
import tomllib
from pathlib import Path

import jwt
import pytest
from click.testing import CliRunner
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from certificates import make_certificate
from relay_clients import INFO, closing_code, member, relay
from streamcodec.errors import ConfigError
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.session import SUBPROTOCOL, CloseCode, Hello, Role, Welcome
from streamcodec_client.cli import main
from streamcodec_server.certificate import Certificate
from streamcodec_server.relay import Relay
from streamcodec_server.serve import serve
from streamcodec_server.token_command import token
from streamcodec_server.tokens import Grant, Keys, TokenRefused, new_key

NOW = time.time()
SECRET, OTHER = "s" * 64, "o" * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "keys.toml"
    file.write_text(f'[keys]\nold = "{OTHER}"\nnew = "{SECRET}"\n')
    return file


@pytest.fixture
def keys(path: Path) -> Keys:
    return Keys(path)


@pytest.mark.parametrize(
    "grant", [Grant(("hall",)), Grant(("team-*", "x?"), publish=False, subscribe=True, name="Ada")]
)
def test_what_was_signed_is_read_back(keys: Keys, grant: Grant) -> None:
    assert keys.check(keys.sign(grant, 7_200, NOW)) == grant


def test_patterns_cover_rooms_and_nothing_else() -> None:
    grant = Grant(("hall", "team-*"))
    covered = [grant.covers(room) for room in ("hall", "team-a", "team-", "Hall", "hall2", "a")]
    assert covered == [True, True, True, False, False, False]


def signed(claims: dict[str, object], secret: str = SECRET, kid: str | None = "new") -> str:
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(claims, secret, "HS256", headers=headers)


FINE: dict[str, object] = {"rooms": ["hall"], "publish": True, "exp": NOW + 7_200}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "asks for a token"),
        ("nonsense", "no key of this relay"),
        (signed(FINE, secret=OTHER), "no key of this relay"),
        (signed(FINE, kid="unknown"), "no key of this relay"),
        (signed(FINE, kid=None), "no key of this relay"),
        (jwt.encode(FINE, "", "none", headers={"kid": "new"}), "no key of this relay"),
        (jwt.encode(FINE, SECRET, "HS512", headers={"kid": "new"}), "no key of this relay"),
        (signed({**FINE, "exp": NOW - 60}), "has expired"),
        (signed({"rooms": ["hall"]}), "never expires"),
        (signed({"exp": NOW + 7_200}), "must name its rooms"),
        (signed({**FINE, "rooms": [3]}), "must name its rooms"),
        (signed({**FINE, "publish": "yes"}), "true or false"),
        (signed({**FINE, "name": 5}), "its name is text"),
    ],
)
def test_a_token_that_is_none_is_refused_with_a_reason(keys: Keys, given: str, reason: str) -> None:
    with pytest.raises(TokenRefused, match=reason):
        keys.check(given)


def test_what_a_token_does_not_say_is_not_allowed(keys: Keys) -> None:
    assert keys.check(signed({"rooms": "hall", "exp": NOW + 7_200})) == Grant(
        ("hall",), False, False
    )


def test_a_key_is_replaced_while_the_relay_runs(keys: Keys, path: Path) -> None:
    before = keys.sign(Grant(("hall",)), 7_200, NOW)
    path.write_text(f'[keys]\nnew = "{SECRET}"\n' + new_key("newest") + "\n")
    os.utime(path, (NOW + 5, NOW + 5))
    assert keys.refresh() is None
    assert keys.check(before)
    after = keys.sign(Grant(("hall",)), 7_200, NOW)
    assert jwt.get_unverified_header(after)["kid"] == "newest"
    path.write_text("[keys]")
    os.utime(path, (NOW + 9, NOW + 9))
    assert "needs a table" in str(keys.refresh())
    assert keys.refresh() is None  # it is said once
    assert keys.check(after)
    path.write_text(new_key("x").join(["[keys]\n", "\n"]))
    os.utime(path, (NOW + 12, NOW + 12))
    keys.refresh()
    with pytest.raises(TokenRefused):
        keys.check(after)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "needs a table"),
        ("[keys]", "needs a table"),
        ("keys = 3", "needs a table"),
        ("[keys", "is no TOML"),
        ('[keys]\na = "short"', "the secret of 'a' must be text of at least 32 characters"),
        ("[keys]\na = 5", "the secret of 'a' must be text"),
        (None, "No such file"),
    ],
)
def test_a_file_of_no_keys_is_refused(tmp_path: Path, text: str | None, complaint: str) -> None:
    file = tmp_path / "keys.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        Keys(file)


def hello(
    keys: Keys, role: Role = Role.BOTH, room: str = "hall", grant: Grant | None = None
) -> Hello:
    allowed = keys.sign(grant or Grant(("hall",)), 7_200, NOW)
    return Hello(role, room, "Mallory", INFO if role.talks else None, token=allowed)


async def test_a_token_lets_its_owner_in_under_its_name(keys: Keys) -> None:
    async with (
        relay(keys=keys) as (running, _, url),
        member(url, hello(keys, grant=Grant(("h*",), name="Ada"))) as (_, welcome),
    ):
        assert welcome.room == "hall"
        (who,) = running.rooms.rooms["hall"].members
        assert who.name == "Ada"


async def refused(url: str, said: Hello) -> tuple[int, str]:
    async with connect(
        url, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None, proxy=None
    ) as connection:
        await connection.send(serialize_message(said))
        return await closing_code(connection)


async def test_what_a_token_does_not_allow_is_refused(keys: Keys) -> None:
    async with relay(keys=keys) as (running, _, url):
        assert await refused(url, Hello(Role.LISTEN, "hall")) == (
            CloseCode.UNAUTHORIZED,
            "this relay asks for a token",
        )
        elsewhere = await refused(url, hello(keys, room="cellar"))
        assert elsewhere == (CloseCode.FORBIDDEN, "the token does not allow to join room cellar")
        mute = Grant(("hall",), publish=False)
        assert (await refused(url, hello(keys, grant=mute)))[
            1
        ] == "the token does not allow to talk"
        deaf = Grant(("hall",), subscribe=False)
        said = hello(keys, Role.LISTEN, grant=deaf)
        assert (await refused(url, said))[1] == "the token does not allow to listen"
        async with member(url, hello(keys, Role.TALK, grant=deaf)):
            assert len(running.rooms.rooms) == 1
        assert running.rooms.counters.refused == 4


def test_the_command_makes_keys_and_tokens(path: Path, keys: Keys, tmp_path: Path) -> None:
    run = CliRunner()
    arguments = ["--keys", str(path), "--room", "team-*", "--no-talk", "--expires", "7d"]
    made = run.invoke(token, [*arguments, "--name", "Ada"], catch_exceptions=False).output.strip()
    assert keys.check(made) == Grant(("team-*",), publish=False, name="Ada")
    left = jwt.decode(made, SECRET, ["HS256"])["exp"] - time.time()
    assert left == pytest.approx(7 * 86_400, abs=30)
    line = run.invoke(token, ["--new-key", "2026-11"], catch_exceptions=False).output
    fresh = tmp_path / "fresh.toml"
    fresh.write_text("[keys]\n" + line)
    assert Keys(fresh).sign(Grant(("a",)), 7_200, NOW)
    assert "give --keys FILE and at least one --room" in run.invoke(token, []).output
    assert "is no period: write 30m" in run.invoke(token, [*arguments, "--expires", "9"]).output


@pytest.mark.parametrize("number", ["2026-11", 'the "new" one', "a\\b\\", "M\u00e4rz \U0001f511"])
def test_a_new_key_has_the_id_that_was_asked_for(number: str) -> None:
    assert list(tomllib.loads("[keys]\n" + new_key(number) + "\n")["keys"]) == [number]


@pytest.mark.parametrize("number", ["", "a\nb", "a\tb", "\x7f", "\udcff"])
def test_an_id_that_a_file_of_keys_cannot_hold_is_refused(
    number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token", "--new-key", number]) == 2
    said = capsys.readouterr()
    assert f"must be one or more printable characters, got {number!r}" in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--host", "0.0.0.0"], "whoever reaches 0.0.0.0 could join: give --keys"),
        (["--host", "::"], "whoever reaches :: could join"),
        (["--cert", "cert.pem"], "TLS needs both --cert and --key"),
        (["--keys", "nowhere.toml"], "keys nowhere.toml: No such file"),
        (["--cert", "nowhere.pem", "--key", "nowhere.pem"], "nowhere.pem: No such file"),
    ],
)
def test_a_relay_is_open_only_where_that_is_asked_for(arguments: list[str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        serve.main([*arguments, "--port", "0"], standalone_mode=False)


async def test_a_client_gives_its_token_and_learns_why_it_is_refused(keys: Keys) -> None:
    async def listening(url: str, *more: str) -> tuple[int | None, str]:
        flags = f"listen --url {url} --sink null --duration 0.2 --room hall".split()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "streamcodec_client", *flags, *more),
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        _, errors = await process.communicate()
        return process.returncode, errors.decode()

    async with relay(keys=keys) as (_, _, url):
        status, errors = await listening(url)
        assert status != 0
        assert "this relay asks for a token" in errors
        allowed = keys.sign(Grant(("hall",)), 7_200, NOW)
        assert (await listening(url, "--token", allowed))[0] == 0


async def greeted(url: str, context: ssl.SSLContext) -> Welcome:
    async with connect(
        url.replace("ws://127.0.0.1", "wss://localhost"),
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        ssl=context,
        proxy=None,
    ) as connection:
        await connection.send(serialize_message(Hello(Role.LISTEN, "a")))
        welcome = parse_message(str(await connection.recv()))
        assert isinstance(welcome, Welcome)
        return welcome


async def test_a_relay_speaks_tls_and_takes_a_renewed_certificate(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    certificate = Certificate(tmp_path / "cert.pem", tmp_path / "key.pem")
    first = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    async with relay(certificate=certificate) as (_, _, url):
        assert (await greeted(url, first)).room == "a"
        make_certificate(tmp_path)
        second = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        with pytest.raises(ssl.SSLCertVerificationError):
            await greeted(url, second)
        for file in ("cert.pem", "key.pem"):
            os.utime(tmp_path / file, (NOW + 5, NOW + 5))
        assert certificate.refresh() is None
        assert (await greeted(url, second)).room == "a"
        (tmp_path / "key.pem").write_text("half")
        os.utime(tmp_path / "key.pem", (NOW + 9, NOW + 9))
        assert "cannot be used" in str(certificate.refresh())
        assert (await greeted(url, second)).room == "a"


async def test_the_relay_reads_keys_again_by_itself(keys: Keys, path: Path) -> None:
    async with relay(keys=keys) as (running, clock, _):
        assert isinstance(running, Relay)
        path.write_text("[keys]\n" + new_key("other") + "\n")
        os.utime(path, (NOW + 5, NOW + 5))
        clock.now_ms += 6_000.0
        await asyncio.sleep(0.6)
    with pytest.raises(TokenRefused):
        keys.check(signed(FINE))
