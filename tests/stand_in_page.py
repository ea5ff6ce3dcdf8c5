"""A page for browsers as `serve --web` gives it out, whose files hold nothing of use."""

from __future__ import annotations

import random
from pathlib import Path

from streamcodec_server.pages import PLACEHOLDERS, Page

INDEX = (
    '<html data-codec-base="{{codec_base}}" data-codec-layered="{{codec_layered}}" '
    'data-codec-tables="{{codec_tables}}" data-rooms="{{rooms}}"></html>\n'
)
FILES = {
    "index.html": INDEX.encode(),
    "page.js": b"import './core.js';\n",
    "core.js": b"// core\n",
    "style.css": b"body {}\n",
    "icon.svg": b"<svg/>\n",
    "streamcodec.wasm": b"\0asm\1\0\0\0",
    "notes.md": b"not part of the page\n",
}
WEIGHTS_BYTES = 3_000_000


def write_page(folder: Path) -> Path:
    """-> the folder of the page."""
    page = folder / "page"
    page.mkdir()
    for name, body in FILES.items():
        (page / name).write_bytes(body)
    return page


def stand_in_codec(size: int = WEIGHTS_BYTES) -> dict[str, bytes]:
    """Files of so many bytes."""
    return {name: weights_body(number, size) for number, name in enumerate(PLACEHOLDERS)}


def weights_body(number: int, size: int = WEIGHTS_BYTES) -> bytes:
    """number: 0 of the base, 1 of the layered one."""
    return random.Random(number).randbytes(size)


def stand_in_page(
    folder: Path, weights_bytes: int = WEIGHTS_BYTES, *, lists_rooms: bool = False
) -> Page:
    codec = stand_in_codec(weights_bytes)
    return Page.load(codec, write_page(folder), lists_rooms=lists_rooms)


def path_of(page: Page, suffix: str) -> str:
    """The one that ends so."""
    (path,) = (path for path in page.paths if path.endswith(suffix))
    return path
