"""Models on disk, without PyTorch: which there are, and what their folders say of them.

A model is a folder with model.safetensors (weights and integer tables), config.json and
MODEL_CARD.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from pathlib import Path

from streamcodec.errors import ModelError

from .config import VaeConfig

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"
SHIPPED = Path(__file__).parent / "weights"
DEFAULT_NAME = "voice-16k"
# 2: levels priced around a stream's base level, gains by class; 3: noise that swells with the voice
FORMAT = 3
TABLE_PREFIX = "tables."  # of the tensors that are integer tables
HASH_DIGITS = 16
MAX_HEADER_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Description:
    """What a model's folder says of it.

    level_bitrates_bps [levels]: mean payload rate in bit/s of one channel of speech at 20 ms a
    payload, measured at export: where rate control starts. hash: 16 hex digits over both files.
    parameters: weights of the network, without its tables.
    """

    config: VaeConfig
    level_bitrates_bps: tuple[float, ...]
    hash: str
    parameters: int


def shipped_names() -> list[str]:
    return sorted(p.parent.name for p in SHIPPED.glob(f"*/{CONFIG_FILE}"))


def folder_of(name_or_path: str | Path | None) -> Path:
    """Folder of a model: a shipped name, a path, or None for the default. Raises ModelError."""
    asked = name_or_path if name_or_path is not None else DEFAULT_NAME
    for folder in (SHIPPED / str(asked), Path(asked)):
        if (folder / CONFIG_FILE).is_file():
            return folder
    raise ModelError(
        f"no model {asked!s}: give a folder with {CONFIG_FILE} and {WEIGHTS_FILE}, or one of {', '.join(shipped_names()) or 'none'}"
    )


def describe(folder: Path) -> Description:
    """Raises ModelError for a folder that is missing, damaged or of another format, saying which
    file and why.
    """
    try:
        config_text = (folder / CONFIG_FILE).read_bytes()
        description = json.loads(config_text)
        if description.get("format") != FORMAT:
            raise ModelError(
                f"{folder}: model format {description.get('format')}, this program reads {FORMAT}"
            )
        config = VaeConfig.from_dict(description["vae"])
        bitrates = tuple(float(b) for b in description["level_bitrates_bps"])
        stored = (folder / WEIGHTS_FILE).read_bytes()
        parameters = _parameters(stored)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(folder, error) from error
    return Description(
        config, bitrates, hashlib.sha256(config_text + stored).hexdigest()[:HASH_DIGITS], parameters
    )


def unreadable(folder: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{folder} is no readable model: {(str(error) or type(error).__name__).splitlines()[0]}"
    )


def _parameters(stored: bytes) -> int:
    """Count of the weights in a safetensors file, from its header: 8 bytes of length, then JSON."""
    size = int.from_bytes(stored[:8], "little")
    if not 0 < size <= min(MAX_HEADER_BYTES, len(stored)):
        raise ValueError(f"{WEIGHTS_FILE} has a header of {size} bytes")
    tensors = json.loads(stored[8 : 8 + size])
    buffers = {"__metadata__", "noise"}
    return sum(
        math.prod(t["shape"])
        for name, t in tensors.items()
        if name not in buffers and not name.startswith(TABLE_PREFIX)
    )
