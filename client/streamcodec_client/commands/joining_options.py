"""Options of whoever joins a relay's room."""

from __future__ import annotations

from pathlib import Path

import click

ca_option = click.option(
    "--ca",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Certificate authorities to trust for wss:// instead of the system's (PEM).",
)

token_option = click.option(
    "--token",
    default="",
    help="Leave to join, where the relay asks for it. Other users of this machine see flags: "
    "better in the environment.",
)

passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Encrypts end to end: only who has the same passphrase (the file's first line) hears what "
    "is said, and the relay does not.",
)
