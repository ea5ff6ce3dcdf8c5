"""`streamcodec token`."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import click

from .tokens import Grant, Keys, new_key

SECONDS = {"m": 60, "h": 3_600, "d": 86_400}


class PeriodType(click.ParamType[int]):
    """30m, 12h, 7d -> seconds."""

    name = "period"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([1-9]\d{0,4})([mhd])", str(value))
        if found is None:
            self.fail(f"{value!r} is no period: write 30m, 12h or 7d", param, ctx)
        return int(found[1]) * SECONDS[found[2]]


@click.command()
@click.option(
    "--new-key",
    "new_key_id",
    metavar="ID",
    help="Instead of a token, print a line with a new secret for the table [keys] of a file.",
)
@click.option(
    "--keys",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="That of the relay's --keys; the last key signs.",
)
@click.option("--room", "rooms", multiple=True, help="Name or pattern (team-*); may be repeated.")
@click.option("--talk/--no-talk", default=True, show_default=True)
@click.option("--listen/--no-listen", default=True, show_default=True)
@click.option(
    "--moderate", is_flag=True, help="Also to see who is there, to silence and to remove."
)
@click.option("--name", default="", help="How others see its owner.  [default: as the client says]")
@click.option("--expires", type=PeriodType(), default="12h", show_default=True, metavar="TIME")
def token(
    new_key_id: str | None,
    keys: Path | None,
    rooms: tuple[str, ...],
    talk: bool,
    listen: bool,
    moderate: bool,
    name: str,
    expires: int,
) -> None:
    """Print a token that lets its owner into rooms of a relay with the same --keys. Clients take it
    with --token, or from STREAMCODEC_TALK_TOKEN and the like.
    """
    if new_key_id is not None:
        click.echo(new_key(new_key_id))
        return
    if keys is None or not rooms:
        raise click.UsageError("give --keys FILE and at least one --room, or --new-key ID")
    grant = Grant(rooms, talk, listen, name, moderate)
    click.echo(Keys(keys).sign(grant, expires, time.time()))
