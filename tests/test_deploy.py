"""The files of server/deploy name settings that `streamcodec serve` has."""

from __future__ import annotations

import re
from pathlib import Path

import click

from streamcodec_client.cli import streamcodec_command

DEPLOY = Path(__file__).parents[1] / "server" / "deploy"


def variables() -> set[str]:
    command = streamcodec_command.get_command(click.Context(streamcodec_command), "serve")
    assert command is not None
    return {str(p.envvar) for p in command.params if isinstance(p, click.Option)}


def test_every_variable_is_a_setting_of_serve() -> None:
    named = {
        name
        for file in ("Dockerfile", "compose.yaml")
        for name in re.findall(r"STREAMCODEC_SERVE_[A-Z_]+", (DEPLOY / file).read_text())
        if not name.endswith("_")
    }
    assert len(named) >= 4
    assert named <= variables()


def test_the_unit_names_settings_of_serve() -> None:
    unit = (DEPLOY / "streamcodec-relay.service").read_text()
    known = {name.removeprefix("STREAMCODEC_SERVE_").lower() for name in variables()}
    keys = re.findall(r"^#   (\w+) = ", unit, re.MULTILINE)
    flags = re.findall(r"serve .*--(\S+)", unit)
    assert keys
    assert flags
    assert {*keys, *flags} <= known


def test_the_health_check_asks_the_port_that_is_exposed() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    (exposed,) = re.findall(r"^EXPOSE (\d+)", text, re.MULTILINE)
    assert f"127.0.0.1:{exposed}/readyz" in text
