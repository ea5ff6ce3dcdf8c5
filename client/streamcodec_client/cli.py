"""The `streamcodec` command: a group whose commands are imported when called, so that `serve` needs
no PyTorch and `--help` is quick.

A setting is taken from the flag, else from STREAMCODEC_<COMMAND>_<OPTION> in the environment, else
from the TOML file that --config names (one table for each command).
"""

from __future__ import annotations

import importlib
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
from click.exceptions import NoSuchCommand

import streamcodec
from streamcodec.errors import StreamcodecError
from streamcodec.terminal import fitted

from .commands.options import SETTINGS_FILE

# name -> module and attribute, the extra that it needs, one line of help. The list of commands is
# printed without importing any of these modules.
COMMANDS = {
    "serve": ("streamcodec_server.serve:serve", "relay", "Run a relay."),
    "token": (
        "streamcodec_server.token_command:token",
        "relay",
        "Let somebody into rooms of a relay.",
    ),
    "send": (
        "streamcodec_client.commands.live:send",
        "client",
        "Send a microphone, a file or a tone into a room.",
    ),
    "listen": (
        "streamcodec_client.commands.live:listen",
        "client",
        "Play, or record, what is said in a room.",
    ),
    "talk": ("streamcodec_client.commands.live:talk", "client", "Send and listen at once."),
    "moderate": (
        "streamcodec_client.commands.moderate:moderate",
        "client",
        "Show who is in a room; silence and remove them.",
    ),
    "gateway": (
        "streamcodec_client.commands.gateway:gateway",
        "client",
        "Raw PCM over websockets, for clients without the codec.",
    ),
    "devices": ("streamcodec_client.commands.devices:devices", "client", "List sound devices."),
    "doctor": (
        "streamcodec_client.commands.doctor:doctor",
        "client",
        "Whether this computer can hold a call.",
    ),
    "encode": ("streamcodec_client.commands.files:encode", "client", "Audio file to .sc file."),
    "decode": ("streamcodec_client.commands.files:decode", "client", ".sc file to audio file."),
    "info": (
        "streamcodec_client.commands.files:info",
        "client",
        "What an .sc file or a model holds.",
    ),
    "train": ("streamcodec_training.cli:train", "train", "Train a codec on a folder of audio."),
    "loadtest": (
        "streamcodec_bench.loadtest_command:loadtest",
        "bench",
        "How many listeners a relay carries.",
    ),
    "bench": ("streamcodec_bench.cli:bench", "bench", "Measure latency and quality."),
}


class LazyGroup(click.Group):
    """Source: click's documentation, "Lazily Loading Subcommands"."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, _, help_line) in COMMANDS.items()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            if cmd_name.startswith("-"):
                return None
            raise NoSuchCommand(cmd_name, possibilities=COMMANDS, ctx=ctx)
        path, extra, _ = COMMANDS[cmd_name]
        module_name, attribute = path.split(":")
        try:
            command = getattr(importlib.import_module(module_name), attribute)
        except ModuleNotFoundError as error:
            raise StreamcodecError(
                f"{cmd_name} needs {error.name}: install it with pip install 'streamcodec[{extra}]'"
            ) from error
        assert isinstance(command, click.Command)
        _name_settings(command, f"STREAMCODEC_{cmd_name}")
        if ctx.default_map and cmd_name in ctx.default_map:
            ctx.default_map = {
                **ctx.default_map,
                cmd_name: _defaults(command, ctx.default_map[cmd_name], cmd_name),
            }
        return command


def _name_settings(command: click.Command, prefix: str) -> None:
    """Names environment variables after flags, also where the command's parameter has another
    name.
    """
    for option in _options(command):
        option.envvar = f"{prefix}_{_flag(option)}".upper()
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            _name_settings(inner, f"{prefix}_{name}")


def _defaults(command: click.Command, table: dict[str, Any], where: str) -> dict[str, Any]:
    """A table of settings, named after flags -> click's defaults. Raises click.BadParameter for an
    unknown setting. `where`: the table's name, for that error.
    """
    known: dict[str, Any] = {_flag(option): option for option in _options(command)}
    inner = command.commands if isinstance(command, click.Group) else {}
    made: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if key in inner and isinstance(value, dict):
            made[key] = _defaults(inner[key], value, f"{where}.{key}")
        elif name in known:
            made[known[name].name] = value
        else:
            raise click.BadParameter(
                f"[{where}] has no setting {key!r}: {', '.join(sorted([*known, *inner]))}"
            )
    return made


def _options(command: click.Command) -> list[click.Option]:
    return [p for p in command.params if isinstance(p, click.Option)]


def _flag(option: click.Option) -> str:
    """--packet-ms -> packet_ms"""
    return max(option.opts, key=len).lstrip("-").replace("-", "_")


def _read_settings(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        tables: dict[str, Any] = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path} is no TOML file: {error}") from error
    if plain := sorted(name for name, table in tables.items() if not isinstance(table, dict)):
        raise click.BadParameter(
            f"{path}: {', '.join(plain)} stands outside a table; tables are named after commands"
        )
    if unknown := sorted(set(tables) - set(COMMANDS)):
        raise click.BadParameter(
            f"{path}: no command {', '.join(unknown)}; "
            f"tables are named after commands: {', '.join(COMMANDS)}"
        )
    ctx.default_map = tables
    ctx.meta[SETTINGS_FILE] = path


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "STREAMCODEC"},
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=_read_settings,
    expose_value=False,
    is_eager=True,
    help="TOML file with a table of settings for each command.",
)
@click.version_option(streamcodec.__version__)
def streamcodec_command() -> None:
    """Live voice over a neural codec."""


def _complain(text: str) -> None:
    click.echo(fitted(text, sys.stderr), err=True)


def main(argv: list[str] | None = None) -> int:
    """Exit status 2 for the user's mistakes, each said in one line."""
    try:
        result = streamcodec_command.main(argv, prog_name="streamcodec", standalone_mode=False)
    except StreamcodecError as error:
        _complain(f"streamcodec: {error}")
        return 2
    except click.ClickException as error:
        command = (
            error.ctx.command_path
            if isinstance(error, click.UsageError) and error.ctx
            else "streamcodec"
        )
        _complain(f"{command}: {error.format_message()}")
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:  # `streamcodec ... | head`: the reader has seen enough
        sys.stderr.close()
        return 0
    except (OSError, UnicodeError) as error:
        _complain(f"streamcodec: {error}")
        return 2
    except ModuleNotFoundError as error:
        _complain(
            f"streamcodec: {error.name} is not installed; "
            "the extras of this package are named in its README"
        )
        return 2
    return result if isinstance(result, int) else 0
