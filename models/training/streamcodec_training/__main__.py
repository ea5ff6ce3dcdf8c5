"""`torchrun -m streamcodec_training ...`: the same command as `streamcodec train`, for several
processes.
"""

import sys

import click

from streamcodec.errors import StreamcodecError

from .cli import train

try:
    train(prog_name="streamcodec train")
except StreamcodecError as error:
    click.echo(f"streamcodec train: {error}", err=True)
    sys.exit(2)
