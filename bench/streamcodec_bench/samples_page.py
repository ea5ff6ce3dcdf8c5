"""The page of samples: rows of sounds with a player each. Pictures and sounds lie in the page
itself, because a page that was opened as a file may not read the files beside it.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from pathlib import Path

from .listening_page import PAGE
from .metrics import METRICS
from .sample_rows import Row, Version, flac
from .spectrograms import BOTTOM, LEFT, STEP, TOP, WIDTH, draw, top_hz

SOURCE = Path(__file__).parent / "samples.html"


def write_samples(target: Path, rows: Sequence[Row], about: str, command: str) -> None:
    """The page, with `about` as a paragraph and the command that it was made by."""
    sounds: dict[str, str] = {}
    numbers: dict[bytes, str] = {}  # sounds that rows share are in the page once
    described: list[dict[str, object]] = []
    sections: list[str] = []
    for row in rows:
        names = []
        for version in row.versions:
            coded = flac(version.pcm, version.sample_rate)
            name = numbers.setdefault(coded, f"{row.name}-{version.name}".lower())
            sounds[name] = base64.b64encode(coded).decode()
            names.append(name)
        described.append(
            {
                "name": row.name,
                "versions": [
                    {
                        "name": version.name,
                        "sound": sound,
                        "kbps": version.kbps,
                        "asked_kbps": version.asked_kbps,
                        "figures": version.figures,
                    }
                    for version, sound in zip(row.versions, names, strict=True)
                ],
            }
        )
        sections.append(_section(row, len(sections) + 1))
    panels = {"left": LEFT, "width": WIDTH, "step": STEP, "bottom": BOTTOM, "top": TOP}
    page = SOURCE.read_text()
    for mark, text in (
        ("@PANELS@", _data(panels)),
        ("@ROWS@", _data(described)),
        ("@SOUNDS@", _data(sounds)),
        ("@LISTENING@", PAGE),
        ("@ABOUT@", html.escape(about)),
        ("@COMMAND@", html.escape(command)),
        ("@SECTIONS@", "\n".join(sections)),
    ):
        page = page.replace(mark, text)
    target.write_text(page)


def table(rows: Sequence[Row]) -> str:
    """The figures of the page, as Markdown."""
    lines = ["| kind | version | kbit/s asked | kbit/s | figures |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.name} | {v.name} | {v.asked_kbps:.2f} | {v.kbps:.2f} | {_figures(v)} |"
        for row in rows
        for v in row.versions
        if v.kbps is not None
    ]
    return "\n".join(lines)


def caption(version: Version) -> str:
    """What stands below a version: rates and figures."""
    if version.kbps is None:
        return f"as recorded, {version.sample_rate / 1000:g} kHz"
    said = f"{version.kbps:.2f} kbit/s (asked for {version.asked_kbps:.2f})"
    return f"{said}; {_figures(version)}" if version.figures else said


def _figures(version: Version) -> str:
    titled = {METRICS[metric].title: value for metric, value in version.figures.items()}
    return ", ".join(f"{title} {value:.2f}" for title, value in titled.items())


def _data(value: object) -> str:
    """JSON that ends no script element."""
    return json.dumps(value, separators=(",", ":")).replace("</", "<\\/")


def _section(row: Row, number: int) -> str:
    titles = [
        (
            v.name if v.kbps is None else f"{v.name}, {v.kbps:.2f} kbit/s",
            v.pcm if v.pcm.ndim == 1 else v.pcm.mean(1),
        )
        for v in row.versions
    ]
    picture, media = draw(titles, row.lost, row.sample_rate)
    drawn = base64.b64encode(picture).decode()
    title = html.escape(row.title)
    versions = "\n".join(
        f'<div><button class="version" aria-pressed="{"true" if n == 1 else "false"}">'
        f"<kbd>{n}</kbd> {html.escape(v.name)}</button><p>{html.escape(caption(v))}</p></div>"
        for n, v in enumerate(row.versions, 1)
    )
    return f"""\
<section id="{row.name}" aria-label="{title}">
<h2>{number}. {title}</h2>
<p class="listen"><b>Listen for</b> {html.escape(row.listen)}</p>
<div class="scroll"><div class="wide">
<div class="picture"><img
alt="Spectrograms of the three versions, 0 to {top_hz(row.sample_rate) / 1000:g} kHz"
src="data:{media};base64,{drawn}"><i class="line"></i><i class="frame"></i></div>
<div class="versions">
{versions}
</div></div></div>
<div class="transport"><button class="play">Play</button>
<input class="seek" type="range" min="0" max="1" step="0.001" value="0" aria-label="Position">
<output class="time"></output></div>
<p class="note">{html.escape(row.credit)}</p>
</section>"""
