"""`streamcodec devices`."""

from __future__ import annotations

import dataclasses
import json

import click

from ..audio.devices import SoundDevice, list_devices


@click.command()
@click.option("--json", "as_json", is_flag=True, help="A JSON list on stdout.")
def devices(as_json: bool) -> None:
    """List sound devices. An index may change when devices come and go; part of a name is safer for
    --device.
    """
    found = list_devices()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(device) for device in found]))
        return
    if not found:
        click.echo(
            "no sound devices; sources and sinks that need none: tone, null, - and files", err=True
        )
        return
    click.echo("index  in out  rate Hz  latency in/out ms  name (host)     * default")
    for device in found:
        click.echo(_line(device))


def _line(device: SoundDevice) -> str:
    defaults = [
        kind
        for kind, is_default in (("input", device.default_input), ("output", device.default_output))
        if is_default
    ]
    return (
        f"{device.index:5}  {device.input_channels:2} {device.output_channels:3}  "
        f"{device.sample_rate:7}  "
        f"{device.input_latency_ms:8.1f}/{device.output_latency_ms:<8.1f}  "
        f"{device.name} ({device.host_api})" + (f" * {' and '.join(defaults)}" if defaults else "")
    )
