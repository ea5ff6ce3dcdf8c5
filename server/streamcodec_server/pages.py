"""The page for browsers that `streamcodec serve --web` gives out: read once, when the relay starts.
Which paths there are is settled then, too: a request's path is looked up, and leads to no file.
"""

from __future__ import annotations

import dataclasses
import email.utils
import hashlib
import http
from collections.abc import Mapping
from pathlib import Path

from websockets.datastructures import Headers
from websockets.http11 import Response

from streamcodec.errors import ConfigError

from .room_list import ROOMS_PATH

FOLDER = Path(__file__).parent / "page"
INDEX, BELOW = "index.html", "/page/"
# What index.html writes where the path of each of the codec's files goes.
PLACEHOLDERS = {name: f"{{{{codec_{name}}}}}" for name in ("base", "layered", "tables")}
ROOMS_PLACEHOLDER = "{{rooms}}"  # and where it asks which rooms are open: nowhere, if empty
WEIGHTS_TYPE, TEXT_TYPE = "application/octet-stream", "text/plain; charset=utf-8"
JSON_TYPE = "application/json"
# POLICY allows the page no other kinds; whatever else lies in its folder is not part of it.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
HASH_DIGITS = 16
FOR_EVER = "public, max-age=31536000, immutable"  # its name says what it holds
ASK_EACH_TIME = "no-cache"  # and is answered 304, until it changes
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "worker-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",  # websockets of the same origin, too
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
# The first two give the page memory that its threads share, and no other page a handle on it.
PROTECTION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "microphone=(self)",
}


@dataclasses.dataclass(frozen=True)
class File:
    """What one path gives. kept: for how long, as Cache-Control says it."""

    body: bytes
    type: str
    kept: str
    tag: str


class Page:
    """Its files by the paths under which browsers ask for them."""

    def __init__(
        self, files: Mapping[str, File], codec: Mapping[str, str], *, lists_rooms: bool = False
    ) -> None:
        """codec: paths of its files, by their name in PLACEHOLDERS. lists_rooms: whether it shows
        which rooms are open.
        """
        self._files, self._codec = dict(files), dict(codec)
        self.lists_rooms = lists_rooms

    @classmethod
    def load(
        cls, codec: Mapping[str, bytes], folder: Path | None = None, *, lists_rooms: bool = False
    ) -> Page:
        """codec: its files by their name in PLACEHOLDERS; one that is empty is not served. folder:
        of index.html, which stands at /, and of what stands below /page/; None: what is installed.
        lists_rooms: it shows which rooms are open. Raises ConfigError where there is no page.
        """
        folder = FOLDER if folder is None else folder
        if not (folder / INDEX).is_file():
            raise ConfigError(
                f"--web: there is no page here ({folder / INDEX}); wheels of streamcodec bring it, "
                f"and from its sources it is built in web/"
            )
        index, files, paths = _read(folder / INDEX), dict[str, File](), dict[str, str]()
        for placeholder in (*PLACEHOLDERS.values(), ROOMS_PLACEHOLDER):
            if placeholder.encode() not in index:
                raise ConfigError(f"--web: {folder / INDEX} does not say {placeholder}")
        where = ROOMS_PATH if lists_rooms else ""
        index = index.replace(ROOMS_PLACEHOLDER.encode(), where.encode())
        for name, placeholder in PLACEHOLDERS.items():
            path = ""
            if body := codec[name]:
                path = paths[name] = f"{BELOW}codec-{_hash(body)}.{name}"
                files[path] = _file(body, WEIGHTS_TYPE, FOR_EVER)
            index = index.replace(placeholder.encode(), path.encode())
        files["/"] = _file(index, TYPES[".html"], ASK_EACH_TIME)
        for found in sorted(folder.iterdir()):
            if found.name != INDEX and found.suffix in TYPES and found.is_file():
                files[BELOW + found.name] = _file(_read(found), TYPES[found.suffix], ASK_EACH_TIME)
        return cls(files, paths, lists_rooms=lists_rooms)

    def replace(self, codec: Mapping[str, bytes]) -> None:
        """Other bytes from now on for files of the codec that browsers unpack to the same. From any
        thread.
        """
        for name, path in self._codec.items():
            self._files[path] = _file(codec[name], WEIGHTS_TYPE, FOR_EVER)

    @property
    def paths(self) -> list[str]:
        """Of everything that can be asked for."""
        return list(self._files)

    def answer(self, path: str, asked: Headers) -> tuple[Response, bytes]:
        """path: without a query. asked: headers of the request -> the answer, and what is still to
        follow it.
        """
        if (file := self._files.get(path)) is None:
            return said(http.HTTPStatus.NOT_FOUND, "there is no such page\n"), b""
        kept = {"ETag": file.tag, "Cache-Control": file.kept}
        if file.tag in _tags(asked):
            return _response(http.HTTPStatus.NOT_MODIFIED, kept), b""
        about = {"Content-Type": file.type, "Content-Length": str(len(file.body)), **kept}
        return _response(http.HTTPStatus.OK, about), file.body


def asks_for_websocket(asked: Headers) -> bool:
    """By a request's headers: all other requests are for the page."""
    wanted = ",".join(asked.get_all("Upgrade")).lower().split(",")
    return "websocket" in (protocol.strip() for protocol in wanted)


def said(status: http.HTTPStatus, text: str, kind: str = TEXT_TYPE) -> Response:
    """A short answer that holds for now."""
    body = text.encode()
    about = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
    return _response(status, about, body)


def _response(status: http.HTTPStatus, about: Mapping[str, str], body: bytes = b"") -> Response:
    always = {"Date": email.utils.formatdate(usegmt=True), "Connection": "close"}
    return Response(status, status.phrase, Headers({**always, **about, **PROTECTION}), body)


def _tags(asked: Headers) -> list[str]:
    """Those that the client has. Weak ones count as much (RFC 9110, section 13.1.2)."""
    named = ",".join(asked.get_all("If-None-Match")).split(",")
    return [tag.strip().removeprefix("W/") for tag in named]


def _file(body: bytes, kind: str, kept: str) -> File:
    return File(body, kind, kept, f'"{_hash(body)}"')


def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:HASH_DIGITS]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"--web: {path}: {error.strerror}") from error
