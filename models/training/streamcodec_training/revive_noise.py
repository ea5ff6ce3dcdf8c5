"""A steady noise table and a noise branch that is heard, in weights from before decision 0012:
`python -m streamcodec_training.revive_noise IN.pt OUT.pt`. To be trained on from: `--warm-start
OUT.pt`.

Above EDGE_HZ the noise branch is given the magnitudes of the other, which is turned down by 35 dB;
below it the noise stays 26 dB under the other.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from streamcodec_models.blocks import noise_spectra
from streamcodec_models.config import VaeConfig

from .parameters import final_weights
from .steady_noise import steady_noise

EDGE_HZ = 2_000.0
# noise has unit variance in each of two parts, a magnitude is that of both
PARTS = -math.log(2) / 2
FAINT, DOWN = -3.0, -4.0


def noisy_bins(config: VaeConfig) -> Tensor:
    """[bins] bool: those which the noise branch is to fill."""
    return torch.arange(config.bins) * config.sample_rate / config.frame >= EDGE_HZ


def revive(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint with the final weights of the given one, changed."""
    c = VaeConfig.from_dict(checkpoint["model_config"])
    model = {name: tensor.clone() for name, tensor in final_weights(checkpoint).items()}
    model["noise"] = noise_spectra(steady_noise(c.noise_frames * c.hop), c.frame, c.hop)
    weight, bias = model["head.weight"], model["head.bias"]
    above = noisy_bins(c)
    weight[2 * c.bins :] = weight[: c.bins]
    bias[2 * c.bins :] = bias[: c.bins] + torch.where(above, PARTS, FAINT)
    bias[: c.bins] += torch.where(above, DOWN, 0.0)
    return {"model_config": checkpoint["model_config"], "model": model}


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
def main(source: Path, target: Path) -> None:
    """Write SOURCE's weights with a noise branch that is heard to TARGET."""
    torch.save(revive(torch.load(source, map_location="cpu", weights_only=True)), target)


if __name__ == "__main__":
    main()
