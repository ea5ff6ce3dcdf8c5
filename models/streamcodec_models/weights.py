"""Models in memory: a folder becomes a network and its tables, and back (see `catalogue` for what a
folder holds).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from streamcodec.tables import EntropyTables

from .catalogue import (
    CONFIG_FILE,
    FORMAT,
    LAYERED_PREFIX,
    TABLE_PREFIX,
    WEIGHTS_FILE,
    describe,
    named_tables,
    unreadable,
)
from .config import VaeConfig
from .vae import VoiceVae


@dataclasses.dataclass(frozen=True)
class Weights:
    """A model ready to run: its networks on the CPU in float32, and the rest as in
    `catalogue.Description`.

    layered: the network of levels with the waveform layer; None where `vae` is theirs, too.
    """

    vae: VoiceVae
    layered: VoiceVae | None
    tables: EntropyTables
    level_bitrates_bps: tuple[float, ...]
    hash: str


def save(
    folder: Path,
    vae: VoiceVae,
    tables: EntropyTables,
    level_bitrates_bps: list[float],
    layered: VoiceVae | None = None,
) -> None:
    """Weights are stored as float16: half the download, and what is measured is what ships."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = _named(vae)
    if layered is not None:
        tensors.update(_named(layered, LAYERED_PREFIX))
    for name, values in named_tables(tables).items():
        tensors[name] = torch.from_numpy(values).contiguous()
    save_file(tensors, folder / WEIGHTS_FILE)
    description = {
        "format": FORMAT,
        "level_bitrates_bps": level_bitrates_bps,
        "vae": dataclasses.asdict(vae.config),
    }
    (folder / CONFIG_FILE).write_text(json.dumps(description, indent=2) + "\n")


def load(folder: Path) -> Weights:
    """Raises ModelError."""
    description = describe(folder)
    try:
        tensors = load_file(folder / WEIGHTS_FILE)
        networks: dict[str, dict[str, Tensor]] = {"": {}, LAYERED_PREFIX: {}}
        for name, tensor in tensors.items():
            if not name.startswith(TABLE_PREFIX):
                prefix = LAYERED_PREFIX if name.startswith(LAYERED_PREFIX) else ""
                networks[prefix][name.removeprefix(prefix)] = tensor.float()
        vae = _network(description.config, networks[""])
        layered = networks[LAYERED_PREFIX]
        second = _network(description.config, layered) if layered else None
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
        safetensors.SafetensorError,
    ) as error:
        raise unreadable(folder, error) from error
    return Weights(
        vae, second, description.tables, description.level_bitrates_bps, description.hash
    )


def _named(vae: VoiceVae, prefix: str = "") -> dict[str, Tensor]:
    """As they are stored."""
    state = vae.state_dict()
    return {prefix + name: v.detach().cpu().half().contiguous() for name, v in state.items()}


def _network(config: VaeConfig, state: dict[str, Tensor]) -> VoiceVae:
    vae = VoiceVae(config)
    vae.load_state_dict(state)
    return vae.eval().requires_grad_(False)
