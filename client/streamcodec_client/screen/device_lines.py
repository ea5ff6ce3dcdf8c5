"""The list of sound devices on the screen, as lines of text of any width."""

from __future__ import annotations

from rich.text import Text

from ..live.device_menu import MORE, OPENS, Choice, DeviceList

MARK_CELLS = 15  # "in use, default"
LEAST_NAME, MOST_NAME = 16, 56


def device_lines(devices: DeviceList, width: int) -> list[Text]:
    """At most 16: two headings, nine devices or a note for each, and what is to be said."""
    name_cells = max(LEAST_NAME, min(MOST_NAME, width - 5 - MARK_CELLS))
    lines = []
    for section in devices.sections:
        lines.append(Text(f"{section.kind}s", style="bold"))
        if section.note:
            lines.append(Text(f"   {section.note}", style="dim"))
        lines += [_line(choice, name_cells) for choice in section.choices]
    return lines + [Text(note, style="dim") for note in devices.notes]


def device_keys(devices: DeviceList) -> str:
    """What the line of keys says of it."""
    more = f"{MORE} others  " if devices.more else ""
    choose = "1-9 choose  " if any(section.choices for section in devices.sections) else ""
    return f"{choose}{more}{OPENS} close"


def _line(choice: Choice, name_cells: int) -> Text:
    name = Text(choice.name)
    name.truncate(name_cells, overflow="ellipsis", pad=True)
    text = Text(f" {choice.key} ")
    text.append(name.plain, style="bold" if choice.in_use else "")
    marks = [
        word for word, is_so in (("in use", choice.in_use), ("default", choice.default)) if is_so
    ]
    text.append(f"  {', '.join(marks)}", style="green" if choice.in_use else "dim")
    return text
