"""`torchrun -m streamcodec_training ...`: the same command as `streamcodec train`, for several
processes.
"""

from __future__ import annotations

import os
import sys

import click

from streamcodec.errors import StreamcodecError
from streamcodec.terminal import fitted

from .cli import train

# What gloo and NCCL say in the processes that wait for one that has ended. That one says why.
LOST = ("connection closed by peer", "connection reset by peer", "broken pipe", "remote process")


def main() -> int:
    """Exit status. A user's mistake is one line, of one process on each machine: all make it."""
    first = int(os.environ.get("LOCAL_RANK", 0)) == 0
    try:
        train(prog_name="streamcodec train", standalone_mode=False)
    except (StreamcodecError, click.ClickException) as error:
        said = error.format_message() if isinstance(error, click.ClickException) else error
        if first:
            click.echo(fitted(f"streamcodec train: {said}", sys.stderr), err=True)
        return 2
    except (KeyboardInterrupt, click.Abort):
        return 130
    except RuntimeError as error:
        if first or not any(text in str(error).lower() for text in LOST):
            raise
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
