"""`streamcodec serve --web`: the page that a relay gives out, and whose scripts may connect."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import subprocess
import sys
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from relay_clients import PATIENCE_S, member, relay
from stand_in_page import FILES, path_of, stand_in_codec, stand_in_page, write_page
from streamcodec.errors import ConfigError, ModelError
from streamcodec.wire.message_json import serialize_message
from streamcodec.wire.session import SUBPROTOCOL, Hello, Role
from streamcodec_models import catalogue
from streamcodec_server.pages import Page
from streamcodec_server.serve import serve
from test_serve import environment

SMALL = 2_000  # bytes of weights


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return stand_in_page(tmp_path_factory.mktemp("page"), SMALL)


async def asked(
    url: str, path: str, *headers: str, method: str = "GET", at: str | None = None
) -> tuple[int, Message, bytes]:
    """Status, headers and body of an answer, read until its end. at: the name under which it is
    asked, None: its address.
    """
    host, _, port = url.removeprefix("ws://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = (f"{method} {path} HTTP/1.1", f"Host: {at or f'127.0.0.1:{port}'}", *headers, "", "")
    async with asyncio.timeout(PATIENCE_S):
        writer.write("\r\n".join(lines).encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    line, _, rest = head.partition(b"\r\n")
    return int(line.split()[1]), BytesParser().parsebytes(rest + b"\r\n\r\n"), body


@pytest.mark.parametrize(
    ("path", "name", "kind"),
    [
        ("/page/page.js", "page.js", "text/javascript; charset=utf-8"),
        ("/page/core.js", "core.js", "text/javascript; charset=utf-8"),
        ("/page/style.css", "style.css", "text/css; charset=utf-8"),
        ("/page/icon.svg", "icon.svg", "image/svg+xml"),
        ("/page/streamcodec.wasm", "streamcodec.wasm", "application/wasm"),
        ("/page/page.js?v=2", "page.js", "text/javascript; charset=utf-8"),
    ],
)
async def test_files_have_their_type_and_are_asked_for_again_each_time(
    page: Page, path: str, name: str, kind: str
) -> None:
    async with relay(page=page) as (_, _, url):
        status, headers, body = await asked(url, path)
        assert (status, body) == (200, FILES[name])
        assert headers["Content-Type"] == kind
        assert headers["Content-Length"] == str(len(body))
        assert headers["Cache-Control"] == "no-cache"
        status, headers, body = await asked(url, path, f"If-None-Match: {headers['ETag']}")
        assert (status, body) == (304, b"")
        assert headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ('"another"', 200),
        ("W/{tag}", 304),
        ('"another", {tag}', 304),
        ("", 200),
    ],
)
async def test_only_what_a_browser_has_already_is_left_out(
    page: Page, sent: str, status: int
) -> None:
    async with relay(page=page) as (_, _, url):
        _, headers, _ = await asked(url, "/")
        named = sent.format(tag=headers["ETag"])
        assert (await asked(url, "/", f"If-None-Match: {named}"))[0] == status


async def test_the_first_page_names_the_weights_which_are_kept_for_ever(page: Page) -> None:
    async with relay(page=page) as (_, _, url):
        status, headers, index = await asked(url, "/?utm=1")
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert headers["Cache-Control"] == "no-cache"
        named = re.findall(r'data-codec-(base|layered)="([^"]+)"', index.decode())
        assert [suffix for suffix, _ in named] == ["base", "layered"]
        for suffix, path in named:
            status, headers, body = await asked(url, path)
            assert (status, len(body)) == (200, SMALL)
            assert path == f"/page/codec-{hashlib.sha256(body).hexdigest()[:16]}.{suffix}"
            assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert headers["Content-Type"] == "application/octet-stream"


async def test_every_answer_about_the_page_is_isolated(page: Page) -> None:
    policy = (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
        "style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
    async with relay(page=page) as (_, _, url):
        tag = (await asked(url, "/"))[1]["ETag"]
        answers = [await asked(url, path) for path in (*page.paths, "/page/absent.js")]
        answers.append(await asked(url, "/", f"If-None-Match: {tag}"))
    assert [status for status, _, _ in answers] == [200] * len(page.paths) + [404, 304]
    for _, headers, _ in answers:
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Content-Security-Policy"] == policy
        assert headers["Permissions-Policy"] == "microphone=(self)"


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/page",
            "/page/",
            "/page/absent.js",
            "/page/notes.md",
            "/page/index.html",
            "/index.html",
        ),
        *("/page/../page.js", "/page/./page.js", "//page/page.js", "/page//page.js", "/page.js"),
        *("/page%2fpage.js", "/page/%70age.js", "/page/..%2fpages.py", "/page/../pages.py", "*"),
        *("/page/codec-0123456789abcdef.base", "/page/page.base", "/page/PAGE.js", "http://x/"),
    ],
)
async def test_what_is_not_there_is_404_in_plain_text(page: Page, path: str) -> None:
    async with relay(page=page) as (_, _, url):
        status, headers, body = await asked(url, path)
        assert (status, body) == (404, b"there is no such page\n")
        assert headers["Content-Type"] == "text/plain; charset=utf-8"


async def test_without_a_page_nothing_changes() -> None:
    async with relay() as (_, _, url):
        for path in ("/", "/page/page.js"):
            status, headers, body = await asked(url, path)
            assert (status, body) == (
                426,
                f"this relay speaks the websocket subprotocol {SUBPROTOCOL}\n".encode(),
            )
            assert "Content-Security-Policy" not in headers
        own = Origin(url.replace("ws", "http"))
        assert await refused(url, own) == "this relay does not know the page that connects\n"


async def test_what_a_relay_answers_otherwise_stays_beside_a_page(page: Page) -> None:
    async with relay(page=page) as (_, _, url):
        status, _, body = await asked(url, "/healthz")
        assert (status, json.loads(body)["status"]) == (200, "ok")
        assert (await asked(url, "/rooms"))[0] == 403
        assert (await asked(url, "/", method="HEAD"))[0] == 405
        assert (await asked(url, "/", "Connection: Upgrade", "Upgrade: h2c"))[0] == 200
        status, _, body = await asked(url, "/", "Connection: Upgrade", "Upgrade: WebSocket")
        assert (status, b"subprotocol" in body) == (426, True)
        async with member(url, Hello(Role.LISTEN, "a")):
            assert json.loads((await asked(url, "/healthz"))[2])["listeners"] == 1


async def connects(url: str, host: str, origin: str | None) -> None:
    """A client whose browser shows `host`. Raises InvalidStatus."""
    port = int(url.rpartition(":")[2])
    async with connect(
        f"ws://{host}",
        host="127.0.0.1",
        port=port,
        origin=None if origin is None else Origin(origin),
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        proxy=None,
    ) as connection:
        await connection.send(serialize_message(Hello(Role.LISTEN, "a")))
        assert '"welcome"' in str(await connection.recv())


async def refused(url: str, origin: str, host: str | None = None) -> str:
    """Why a page's websocket is."""
    with pytest.raises(InvalidStatus) as why:
        await connects(url, host or url.removeprefix("ws://"), origin)
    assert why.value.response.status_code == 403
    return why.value.response.body.decode()


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8765", "http://127.0.0.1:8765"),
        ("127.0.0.1:8765", "https://127.0.0.1:8765"),  # a proxy has ended TLS
        ("127.0.0.1", "http://127.0.0.1"),
        ("127.0.0.1:443", "https://127.0.0.1"),
        ("192.0.2.7:8765", "http://192.0.2.7:8765"),
        ("[::1]:8765", "http://[::1]:8765"),
        ("localhost:8765", "http://localhost:8765"),
        ("LocalHost:8765", "http://localhost:8765"),
        ("relay.localhost:8765", "http://relay.localhost:8765"),
        ("voice.example.org", "https://voice.example.org"),  # is named
        ("127.0.0.1:8765", "https://voice.example.org"),  # behind a proxy that hides its name
        ("voice.example.org", None),
    ],
)
async def test_the_relays_own_page_may_connect(page: Page, host: str, origin: str | None) -> None:
    named = frozenset({"https://voice.example.org"})
    async with relay(page=page, origins=named) as (_, _, url):
        await connects(url, host, origin)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8765", "http://127.0.0.1:8766"),
        ("127.0.0.1:8765", "http://127.0.0.1"),
        ("127.0.0.1:8765", "http://127.0.0.2:8765"),
        ("127.0.0.1:8765", "http://localhost:8765"),
        ("127.0.0.1:8765", "https://evil.example"),
        ("127.0.0.1", "https://127.0.0.1:80"),
        ("voice.example.org:8765", "http://voice.example.org:8765"),  # DNS rebinding
        ("localhost.evil.example:8765", "http://localhost.evil.example:8765"),
        ("127.0.0.1.evil.example", "http://127.0.0.1.evil.example"),
        ("evillocalhost:8765", "http://evillocalhost:8765"),
        ("2130706433:8765", "http://2130706433:8765"),  # no browser leaves an address so
    ],
)
async def test_other_pages_are_told_what_the_operator_would_have_to_name(
    page: Page, host: str, origin: str
) -> None:
    async with relay(page=page) as (_, _, url):
        assert await refused(url, origin, host) == (
            "this relay does not know the page that connects; if it is its own, under this name, "
            f"start the relay with --origin {origin}\n"
        )


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "file://",
        "http://127.0.0.1:8765/",
        "ftp://127.0.0.1:8765",
        "http://a@127.0.0.1:8765",
    ],
)
async def test_what_is_no_pages_origin_is_not_repeated(page: Page, origin: str) -> None:
    async with relay(page=page) as (_, _, url):
        said = await refused(url, origin, "127.0.0.1:8765")
        assert said == "this relay does not know the page that connects\n"


async def test_of_two_hosts_or_origins_none_is_believed(page: Page) -> None:
    upgrade = ("Connection: Upgrade", "Upgrade: websocket")
    async with relay(page=page) as (_, _, url):
        own = f"Origin: {url.replace('ws', 'http')}"
        assert (await asked(url, "/", *upgrade, own))[0] == 426  # it may connect
        assert (await asked(url, "/", *upgrade, own, "Host: x"))[0] == 403  # beside its own
        assert (await asked(url, "/", *upgrade, own, "Origin: https://evil.example"))[0] == 403


def test_a_page_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--web: there is no page here \(.*index\.html\)"):
        Page.load(stand_in_codec(SMALL), tmp_path)


def test_without_a_model_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "SHIPPED", Path("nowhere"))
    with pytest.raises(ModelError, match=r"pip install 'streamcodec\[codec\]'"):
        serve.main(["--web", "--port", "0"], standalone_mode=False)


def test_a_model_of_one_network_has_one_file(tmp_path: Path) -> None:
    read = Page.load({"base": b"weights", "layered": b"", "tables": b""}, write_page(tmp_path))
    (path,) = (path for path in read.paths if "codec-" in path)
    assert path.endswith(".base")


def test_smaller_files_take_the_place_of_the_first_ones(tmp_path: Path) -> None:
    read = Page.load({"base": b"large", "layered": b"", "tables": b""}, write_page(tmp_path))
    paths, path = read.paths, path_of(read, ".base")
    before, _ = read.answer(path, Headers())
    read.replace({"base": b"small", "layered": b"", "tables": b""})
    answer, body = read.answer(path, Headers())
    assert body == b"small"
    assert answer.headers["ETag"] != before.headers["ETag"]
    assert answer.headers["Cache-Control"] == before.headers["Cache-Control"]
    assert read.paths == paths


def test_a_relay_listens_and_ends_while_its_page_is_still_being_packed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from streamcodec_server import pages, serve; "
        "from streamcodec.coding.page_codec import PageCodec; "
        f"pages.FOLDER = Path({str(write_page(tmp_path))!r}); "
        "PageCodec.smallest = lambda codec: time.sleep(3_600); "
        "serve.serve.main(sys.argv[1:])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "--web", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert "relay listening on" in process.stdout.readline()
        process.terminate()
    assert process.returncode == 0


def test_a_first_page_that_does_not_name_the_weights_is_refused(tmp_path: Path) -> None:
    page = write_page(tmp_path)
    (page / "index.html").write_text('<html data-codec-base="{{codec_base}}">')
    with pytest.raises(ConfigError, match=r"index\.html does not say \{\{codec_layered\}\}"):
        Page.load(stand_in_codec(SMALL), page)


@pytest.mark.parametrize("as_json", [False, True])
def test_the_pages_link_stands_beside_the_relays(as_json: bool, tmp_path: Path) -> None:
    page = write_page(tmp_path)
    program = (
        "import sys; from pathlib import Path; from streamcodec_server import pages, serve; "
        f"pages.FOLDER = Path({str(page)!r}); "
        "serve.serve.main(sys.argv[1:])"
    )
    asked_for = ["--web", "--port", "0", *(["--json"] if as_json else [])]
    with subprocess.Popen(
        [sys.executable, "-c", program, *asked_for],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        process.terminate()
        process.stdout.read()
    if as_json:
        said = json.loads(lines[0])
        assert said["page"] == said["url"].replace("ws", "http") + "/"
    else:
        port = lines[0].rpartition(":")[2].strip()
        assert "relay listening on ws://127.0.0.1:" in lines[0]
        assert lines[1].split(maxsplit=1)[1] == f"page on http://127.0.0.1:{port}/\n"


def test_paths_are_settled_when_the_page_is_read(page: Page, tmp_path: Path) -> None:
    assert path_of(page, ".base").startswith("/page/codec-")
    folder = write_page(tmp_path)
    read = Page.load(stand_in_codec(SMALL), folder)
    (folder / "late.js").write_text("// not part of it")
    assert "/page/late.js" not in read.paths
    assert read.paths == page.paths
