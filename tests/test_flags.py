"""Flags, environment variables and help texts are an interface: users keep them in scripts and
settings files.
"""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from streamcodec_client.cli import streamcodec_command

GOLDEN = Path(__file__).parent / "golden" / "flags.txt"
COMMANDS = (
    "send",
    "listen",
    "talk",
    "gateway",
    "devices",
    "encode",
    "decode",
    "info",
    "bench",
    "moderate",
    "doctor",
    "serve",
)


def described(command: click.Command, name: str) -> Iterator[str]:
    """A line for each option: command, flag with its type, help with its default, variable."""
    if isinstance(command, click.Group):
        for inner, subcommand in command.commands.items():
            yield from described(subcommand, f"{name} {inner}")
        return
    with click.Context(command, info_name=name) as context:
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                flag, text = parameter.get_help_record(context) or ("", "")
                yield f"{name} {flag} | {text} | {parameter.envvar}"
            else:
                yield f"{name} {parameter.make_metavar(context)}"


@pytest.mark.parametrize("command", COMMANDS)
def test_flags_variables_and_help_texts_stay(command: str) -> None:
    """To change one on purpose, write the new line into golden/flags.txt."""
    context = click.Context(streamcodec_command)
    found = streamcodec_command.get_command(context, command)
    assert found is not None
    kept = [line for line in GOLDEN.read_text().splitlines() if line.split()[0] == command]
    assert list(described(found, command)) == kept
