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

from streamcodec.tables import EntropyTables

from .catalogue import (
    CONFIG_FILE,
    FORMAT,
    TABLE_PREFIX,
    WEIGHTS_FILE,
    describe,
    named_tables,
    unreadable,
)
from .vae import VoiceVae


@dataclasses.dataclass(frozen=True)
class Weights:
    """A model ready to run: the network on the CPU in float32, and the rest as in
    `catalogue.Description`.
    """

    vae: VoiceVae
    tables: EntropyTables
    level_bitrates_bps: tuple[float, ...]
    hash: str


def save(
    folder: Path, vae: VoiceVae, tables: EntropyTables, level_bitrates_bps: list[float]
) -> None:
    """Weights are stored as float16: half the download, and what is measured is what ships."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().cpu().half().contiguous() for k, v in vae.state_dict().items()}
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
        vae = VoiceVae(description.config)
        network = {k: v.float() for k, v in tensors.items() if not k.startswith(TABLE_PREFIX)}
        vae.load_state_dict(network)
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
        vae.eval().requires_grad_(False),
        description.tables,
        description.level_bitrates_bps,
        description.hash,
    )
