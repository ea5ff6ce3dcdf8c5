"""The documents: links lead to files that exist, prose stays within 100 columns."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from test_architecture import ALLOWED, VALUES

ROOT = Path(__file__).parents[1]
MARKDOWN = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "models/**/*.md", "bench/**/*.md", "native/**/*.md")
    for path in ROOT.glob(pattern)
)
PAGES = sorted(ROOT.glob("docs/**/*.html"))
MARKDOWN_LINK = re.compile(r"\]\(([^)\s]+)\)")
HTML_LINK = re.compile(r"""(?:src|href)=["']([^"']+)["']""")
ARCHITECTURE = ROOT / "docs" / "architecture.md"
ELSEWHERE = ("http://", "https://", "mailto:", "data:", "#")
COLUMNS = 100


def named(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Line numbers and lines outside code blocks and tables, without the targets of links."""
    in_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif not in_code and not line.startswith("|"):
            yield number, re.sub(r"<https?://[^>]*>", "", MARKDOWN_LINK.sub("]", line))


@pytest.mark.parametrize("name", named([*MARKDOWN, *PAGES]))
def test_relative_links_lead_to_files(name: str) -> None:
    path = ROOT / name
    pattern = HTML_LINK if path.suffix == ".html" else MARKDOWN_LINK
    targets = [t for t in pattern.findall(path.read_text()) if not t.startswith(ELSEWHERE)]
    missing = [t for t in targets if not (path.parent / t.partition("#")[0]).exists()]
    assert missing == []


@pytest.mark.parametrize("name", named(MARKDOWN))
def test_prose_stays_within_100_columns(name: str) -> None:
    long = {n: len(line) for n, line in prose((ROOT / name).read_text()) if len(line) > COLUMNS}
    assert long == {}


def test_every_decision_is_numbered_once() -> None:
    files = [path for path in MARKDOWN if path.parent.name == "decisions"]
    numbers = [path.name[:4] for path in files]
    assert numbers == [f"{n:04}" for n in range(1, len(files) + 1)]
    assert [path.read_text().startswith(f"# {path.name[:4]}: ") for path in files] == [True] * len(
        files
    )


def drawn_imports() -> set[tuple[str, str]]:
    """The arrows of the diagram in docs/architecture.md: `a --> b & c` is two of them."""
    lines = ARCHITECTURE.read_text().partition("```mermaid")[2].partition("```")[0].splitlines()
    arrows = [line.split(" --> ") for line in lines if " --> " in line]
    return {(room.strip(), to.strip()) for room, many in arrows for to in many.split("&")}


def test_the_picture_of_the_rooms_shows_the_imports_that_are_allowed() -> None:
    engines = {room for room in ALLOWED if room.startswith("streamcodec.engines.")}
    allowed = set()
    for room, targets in ALLOWED.items():
        for target in targets - {room} if room not in VALUES else ():
            name = "values" if target in VALUES else target
            allowed |= {(room, n) for n in (engines if name == "streamcodec.engines" else {name})}
    assert drawn_imports() == allowed


def test_rooms_and_modules_in_the_table_exist() -> None:
    table = ARCHITECTURE.read_text().partition("| room |")[2].partition("\n\n")[0]
    rows = [row.split("|") for row in table.splitlines() if row.startswith("| `")]
    assert len(rows) >= 15
    for _, room, contents, _ in rows:
        folder = ROOT / room.strip(" `")
        assert folder.is_dir(), room
        if (folder / "__init__.py").is_file():
            names = re.findall(r"`([a-z_]+)`", contents)
            assert [n for n in names if not (folder / f"{n}.py").is_file()] == []
