"""Models on disk: a folder with model.safetensors (weights and integer tables), config.json and MODEL_CARD.md."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save_file

from .config import VaeConfig
from .entropy import EntropyTables
from .vae import VoiceVae

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"
SHIPPED = Path(__file__).parent / "weights"
DEFAULT_NAME = "voice-16k"
FORMAT = 3  # 2: levels priced around a stream's base level, gains by class; 3: noise that swings with the voice
_TABLE_PREFIX = "tables."


class WeightsError(Exception):
    """A model folder that is missing, damaged or of another format; says which file and why."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """A model ready to run: the network on the CPU in float32, its tables, what each quality level spends, and its hash.

    level_bitrates_bps [levels] is the mean payload rate of one channel of speech at 20 ms a payload, measured at export: where rate
    control starts. hash: 16 hex digits over both files, which a stream names so that nobody decodes it with other tables.
    """

    vae: VoiceVae
    tables: EntropyTables
    level_bitrates_bps: tuple[float, ...]
    hash: str


def shipped_names() -> list[str]:
    return sorted(p.parent.name for p in SHIPPED.glob(f"*/{CONFIG_FILE}"))


def folder_of(name_or_path: str | Path | None) -> Path:
    """Folder of a model: a shipped name, a path, or None for the default. Raises WeightsError."""
    asked = name_or_path if name_or_path is not None else DEFAULT_NAME
    for folder in (SHIPPED / str(asked), Path(asked)):
        if (folder / CONFIG_FILE).is_file():
            return folder
    raise WeightsError(
        f"no model {asked!s}: give a folder with {CONFIG_FILE} and {WEIGHTS_FILE}, or one of {', '.join(shipped_names()) or 'none'}"
    )


def save(folder: Path, vae: VoiceVae, tables: EntropyTables, level_bitrates_bps: list[float]) -> None:
    """Weights are stored as float16: half the download, and what is measured is what ships."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().cpu().half().contiguous() for k, v in vae.state_dict().items()}
    for field in dataclasses.fields(tables):
        tensors[_TABLE_PREFIX + field.name] = torch.from_numpy(getattr(tables, field.name)).contiguous()
    save_file(tensors, folder / WEIGHTS_FILE)
    description = {"format": FORMAT, "level_bitrates_bps": level_bitrates_bps, "vae": dataclasses.asdict(vae.config)}
    (folder / CONFIG_FILE).write_text(json.dumps(description, indent=2) + "\n")


def load(folder: Path) -> Weights:
    """Raises WeightsError."""
    try:
        config_text = (folder / CONFIG_FILE).read_bytes()
        description = json.loads(config_text)
        if description.get("format") != FORMAT:
            raise WeightsError(f"{folder}: model format {description.get('format')}, this program reads {FORMAT}")
        tensors = load_file(folder / WEIGHTS_FILE)
        vae = VoiceVae(VaeConfig.from_dict(description["vae"]))
        arrays = {k.removeprefix(_TABLE_PREFIX): tensors.pop(k).numpy() for k in list(tensors) if k.startswith(_TABLE_PREFIX)}
        vae.load_state_dict({k: v.float() for k, v in tensors.items()})
        tables = EntropyTables(**arrays)
        bitrates = tuple(float(b) for b in description["level_bitrates_bps"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        raise WeightsError(f"{folder} is no readable model: {str(error).splitlines()[0]}") from error
    digest = hashlib.sha256(config_text + (folder / WEIGHTS_FILE).read_bytes()).hexdigest()[:16]
    return Weights(vae.eval().requires_grad_(False), tables, bitrates, digest)
