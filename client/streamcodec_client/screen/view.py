"""What the screen of a live session shows, as values, and as lines of text of any width."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rich.text import Text

from ..audio.level import FLOOR_DB, SILENCE, Level
from ..live.device_menu import DeviceList
from .device_lines import device_keys, device_lines

LEAST_WIDTH = 60
BAR_CELLS, BAR_FLOOR_DB = 20, -60.0
LOUD_DB, HOT_DB = -12.0, -3.0  # from here on a meter turns yellow, and red
GOOD_MOS, FAIR_MOS = 4.0, 3.6  # the E-model's: users are satisfied; many are not
LOST_PERCENT, FAR_MS = 1.0, 250.0
SILENT_AFTER_S = 3.0
HELP = (
    "m  mute or unmute your microphone      1-9  choose a person, again: everybody",
    "+ -  volume, of the chosen one         x    do not hear the chosen one, or again",
    "space  talk while it is held (--ptt)   r    record, or not (--record)",
    "d  choose microphone and loudspeaker   ?    close this",
    "q  leave",
)


@dataclasses.dataclass(frozen=True)
class Person:
    """Somebody who is heard. key: by which it is chosen. volume_db: as the user wants it; None: not
    heard.
    """

    key: str
    name: str
    level: Level = SILENCE
    muted: bool = False
    mouth_to_ear_ms: float | None = None
    mos: float | None = None
    concealed_percent: float = 0.0
    volume_db: float | None = 0.0
    chosen: bool = False


@dataclasses.dataclass(frozen=True)
class Myself:
    """The user's own microphone. heard_by: how many say how they hear it. finished: what is sent
    in its place, a file, has ended.
    """

    name: str
    level: Level = SILENCE
    muted: bool = False
    push_to_talk: bool = False
    bps: float = 0.0
    heard_by: int = 0
    lost_ms: float = 0.0
    connected: bool = True
    finished: bool = False


@dataclasses.dataclass(frozen=True)
class Notice:
    """Something that has happened. warns: the user must know."""

    text: str
    warns: bool = False


@dataclasses.dataclass(frozen=True)
class View:
    """state: of the connection. troubles: what is wrong as long as it is shown. listening: names of
    some of the `listeners` who do not talk. recording: None where nothing can be. devices: the list
    of them while it is open; it takes the place of the people, so that 24 rows are enough.
    """

    where: str
    state: str
    connected: bool
    elapsed_s: float
    rtt_ms: float | None = None
    myself: Myself | None = None
    people: Sequence[Person] = ()
    listens: bool = True
    volume_db: float = 0.0
    troubles: Sequence[str] = ()
    notices: Sequence[Notice] = ()
    help_open: bool = False
    listening: Sequence[str] = ()
    listeners: int = 0
    recording: bool | None = None
    devices: DeviceList | None = None


def lines_of(view: View, width: int) -> list[Text]:
    """No line is longer than `width` columns."""
    name_cells = max(8, min(24, width - 62))
    lines = [_head(view, width), Text()]
    if view.myself is not None:
        lines.append(_own_row(view.myself, name_cells))
    if view.devices is not None:
        lines += [Text(), *device_lines(view.devices, width)]
    else:
        lines += _people(view, name_cells)
    lines.append(Text())
    troubles = view.troubles if view.devices is None else view.troubles[:1]
    lines += [Text(text, style="bold red") for text in troubles]
    lines += [
        Text(notice.text, style="bold yellow" if notice.warns else "dim") for notice in view.notices
    ]
    lines += [Text(text) for text in HELP] if view.help_open else [Text(_keys(view), style="dim")]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
        line.no_wrap = True
    return lines


def _people(view: View, name_cells: int) -> list[Text]:
    lines = [_row(person, name_cells) for person in view.people]
    if view.listens and view.connected and not view.people:
        lines.append(Text("   nobody else talks here", style="dim"))
    if view.listeners and view.connected:
        lines.append(Text(f"   {_listening(view)}", style="dim"))
    return lines


def bar(level: Level) -> Text:
    """A meter of BAR_CELLS columns: the level, and a mark where its peak is."""
    filled, peak = _cells(level.db), _cells(level.peak_db)
    text = Text()
    for cell in range(BAR_CELLS):
        db = BAR_FLOOR_DB * (1 - (cell + 1) / BAR_CELLS)
        colour = "red" if db > HOT_DB else "yellow" if db > LOUD_DB else "green"
        if cell < filled:
            text.append("█", style=colour)
        elif cell == peak - 1:
            text.append("│", style=colour)
        else:
            text.append("·", style="dim")
    return text


def quality_of(person: Person) -> tuple[str, str]:
    """A word for how a person is heard, with the reason where it is not good; and its colour."""
    if person.mos is None:
        return "", ""
    if person.mos >= GOOD_MOS:
        return "good", "green"
    word, colour = ("fair", "yellow") if person.mos >= FAIR_MOS else ("poor", "red")
    reasons = []
    if person.concealed_percent >= LOST_PERCENT:
        reasons.append(f"{person.concealed_percent:.0f} % lost")
    if person.mouth_to_ear_ms is not None and person.mouth_to_ear_ms >= FAR_MS:
        reasons.append("long delay")
    return f"{word}: {', '.join(reasons)}" if reasons else word, colour


def _head(view: View, width: int) -> Text:
    hours, rest = divmod(int(view.elapsed_s), 3600)
    clock = f"{hours:d}:{rest // 60:02d}:{rest % 60:02d}"
    text = Text()
    text.append(view.where, style="bold")
    text.append("  ")
    text.append(view.state, style="green" if view.connected else "bold red")
    if view.connected and view.rtt_ms is not None:
        text.append(f", round trip {view.rtt_ms:.0f} ms")
    if view.recording is not None:
        text.append("  recording" if view.recording else "  not recording", style="bold magenta")
    text.truncate(max(0, width - len(clock) - 2), overflow="ellipsis", pad=True)
    text.append(f"  {clock}")
    return text


def _own_row(me: Myself, name_cells: int) -> Text:
    text = Text("   ")
    text.append(_fitted(me.name or "you", name_cells))
    text.append(" ")
    text.append_text(bar(SILENCE if me.finished else me.level))
    text.append(" ")
    state, style = _own_state(me)
    text.append(f"{state:<9}", style=style)
    if me.finished:
        return text
    if not me.muted and me.connected:
        text.append(f" {me.bps / 1000:4.1f} kbit/s")
    if me.heard_by and not me.muted:
        text.append(f", heard by {me.heard_by}")
    if me.lost_ms >= 1:
        text.append(f", {me.lost_ms:.0f} ms not captured", style="yellow")
    return text


def _own_state(me: Myself) -> tuple[str, str]:
    if me.finished:
        return "has ended, you listen", "bold"
    if me.muted:
        return ("hold space to talk" if me.push_to_talk else "muted"), "bold"
    if not me.connected:
        return "not connected", "yellow"
    if me.level.clipping:
        return "clipping", "bold red"
    if me.level.silent_s > SILENT_AFTER_S:
        return "silent", "bold yellow"
    return "on air", "green"


def _row(person: Person, name_cells: int) -> Text:
    text = Text(f"{person.key:>2} ", style="reverse" if person.chosen else "")
    text.append(_fitted(person.name, name_cells), style="reverse" if person.chosen else "")
    text.append(" ")
    text.append_text(bar(person.level if person.volume_db is not None else SILENCE))
    text.append(" ")
    if person.volume_db is None:
        text.append(f"{'not heard':<9}", style="bold")
    elif person.muted:
        text.append(f"{'muted':<9}", style="dim")
    else:
        talks = person.level.db > BAR_FLOOR_DB
        text.append(f"{'talking' if talks else '':<9}", style="green")
    if person.mouth_to_ear_ms is not None:
        text.append(f" {person.mouth_to_ear_ms:4.0f} ms ")
        word, colour = quality_of(person)
        text.append(word, style=colour)
    if person.volume_db:
        text.append(f" {person.volume_db:+.0f} dB", style="dim")
    return text


def _listening(view: View) -> str:
    named, others = list(view.listening), view.listeners - len(view.listening)
    if others > 0:
        named.append(f"{others} more" if named else str(others))
    return f"listening: {', '.join(named)}"


def _keys(view: View) -> str:
    own = "" if view.myself is None else "m mute  "
    if view.devices is not None:
        return f"{device_keys(view.devices)}  {own}q leave"
    heard = "" if not view.listens else "+ - volume  1-9 person  "
    volume = f"  volume {view.volume_db:+.0f} dB" if view.volume_db else ""
    return f"{own}{heard}d devices  ? keys  q leave{volume}"


def _fitted(name: str, cells: int) -> str:
    """As wide as a terminal shows it: some characters take two columns."""
    text = Text(name)
    text.truncate(cells, overflow="ellipsis", pad=True)
    return text.plain


def _cells(db: float) -> int:
    """Filled cells of a meter at that level."""
    if db <= FLOOR_DB:
        return 0
    share = 1 - db / BAR_FLOOR_DB
    return max(0, min(BAR_CELLS, round(share * BAR_CELLS)))
