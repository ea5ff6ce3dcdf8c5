"""Between two runs from one beginning: `python -m streamcodec_training.average A.pt B.pt SHARE_OF_B
OUT.pt`.

The mean of weights that branched off late costs much less than either end's fault (Wortsman et al.
2022, model soups): a run that traded one figure for another is taken half way back.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from streamcodec.errors import ModelError

from .parameters import final_weights

CHECKPOINT = click.Path(exists=True, dir_okay=False, path_type=Path)


def average(first: Path, second: Path, share: float, out: Path) -> None:
    """Writes a checkpoint to start or export from. Raises ModelError where the two are of different
    shapes.
    """
    a, b = (torch.load(path, map_location="cpu", weights_only=True) for path in (first, second))
    if a["model_config"] != b["model_config"]:
        raise ModelError(f"{first} and {second} hold models of different shapes")
    others = final_weights(b)
    model = {
        name: torch.lerp(t.float(), others[name].float(), share).to(t.dtype)
        for name, t in final_weights(a).items()
    }
    torch.save({"model_config": a["model_config"], "model": model}, out)


@click.command()
@click.argument("first", type=CHECKPOINT)
@click.argument("second", type=CHECKPOINT)
@click.argument("share", type=click.FloatRange(0, 1))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
def main(first: Path, second: Path, share: float, out: Path) -> None:
    """Mix two checkpoints; SHARE of the second."""
    try:
        average(first, second, share, out)
    except ModelError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
