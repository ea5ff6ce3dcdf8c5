"""Weights between those of two runs that began with the same weights.

The mean of weights that branched off late lacks much of either end's faults and little of their
gains (Wortsman et al. 2022, model soups): it takes back half of what a run gave up for its aim.
"""

from __future__ import annotations

from pathlib import Path

import torch

from streamcodec.errors import ModelError

from .checkpoint import Checkpoint, load_weights, save


def average(first: Path, second: Path, share: float, out: Path) -> None:
    """Writes a checkpoint with `share` (0..1) of the second's final weights and the rest of the
    first's, to start or export from. Raises ModelError where the two have different shapes.
    """
    (shape, a), (other_shape, b) = load_weights(first), load_weights(second)
    if shape != other_shape:
        raise ModelError(f"{first} and {second} hold models of different shapes")
    mixed = {
        name: torch.lerp(tensor.float(), b[name].float(), share).to(tensor.dtype)
        for name, tensor in a.items()
    }
    save(out, Checkpoint(model_config=shape, model=mixed))
