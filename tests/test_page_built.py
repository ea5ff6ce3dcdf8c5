"""The page that ships is the one that its sources make: it is built by hand (`make web`), so that
nobody needs Node to serve it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILT = ROOT / "server" / "streamcodec_server" / "page"
LARGEST_BYTES = 300_000  # of all of it; the codec's weights come besides
# As web/build.mjs has them.
SOURCES = {"page": ["web/src", "web/package-lock.json"], "engine": ["native/src"]}


def sum_of(places: list[str]) -> str:
    paths = [ROOT / place for place in places]
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))]
    names = sorted(file.relative_to(ROOT).as_posix() for file in files if file.is_file())
    total = hashlib.sha256()
    for name in names:
        total.update(name.encode() + b"\0" + (ROOT / name).read_bytes())
    return total.hexdigest()


@pytest.mark.parametrize("part", SOURCES)
def test_what_ships_was_built_from_these_sources(part: str) -> None:
    said = json.loads((BUILT / "sources.json").read_text())
    assert said[part] == sum_of(SOURCES[part]), "the page is not built anew: make web"


def test_the_page_is_small() -> None:
    assert sum(file.stat().st_size for file in BUILT.iterdir()) <= LARGEST_BYTES
