"""Models on disk, without PyTorch: which there are, and what their folders say of them.

A model is a folder with model.safetensors (weights and integer tables), config.json and
MODEL_CARD.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamcodec.errors import ModelError
from streamcodec.tables import (
    EntropyTables,
    FollowTables,
    HighBandTables,
    JointTables,
    WaveformTables,
)

from .config import VaeConfig

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"
HIGH_BAND_FILE = "high_band.safetensors"  # of models whose streams can be full band
JOINT_STEREO_FILE = "joint_stereo.safetensors"  # of those whose two channels can be joint
JOINT_PARTS = ("latents", "waveform")  # of its tables, whose names begin with it and a dot
SHIPPED = Path(__file__).parent / "weights"
DEFAULT_NAME = "voice-16k"
# 2: levels priced around a stream's base level, gains by class; 3: noise that swells with the
# voice; 4: waveform layer; 5: a network of its own for levels with the layer, or none
FORMAT = 5
READABLE_FORMATS = (4, 5)
TABLE_PREFIX = "tables."  # of the tensors that are integer tables
LAYERED_PREFIX = "layered."  # of those of the network for levels with the waveform layer
WAVEFORM_PREFIX = "waveform."  # of those, behind it, that price the waveform layer
INTEGERS = {"I32": "<i4", "I8": "|i1"}  # types of tables
TYPES = {**INTEGERS, "F32": "<f4"}  # of those in files of their own
HASH_DIGITS = 16
PACKED_PRECISIONS = (
    "float32",
    "exact",
    "mixed",
)  # of weights packed for the native engine (see `pack`)
MAX_HEADER_BYTES = 1 << 20
HASHED_BYTES = 1 << 18  # at a time


@dataclasses.dataclass(frozen=True)
class Description:
    """What a model's folder says of it.

    level_bitrates_bps [levels]: mean payload rate in bit/s of one channel of speech at 20 ms a
    payload, measured at export: where rate control starts. hash: 16 hex digits over both files.
    parameters: weights of its networks, without its tables.
    """

    config: VaeConfig
    level_bitrates_bps: tuple[float, ...]
    hash: str
    parameters: int
    tables: EntropyTables


def packed_file(precision: str) -> str:
    """Name of a model's weights as the native engine reads them."""
    return f"model.{precision}.native"


def shipped_names() -> list[str]:
    return sorted(p.parent.name for p in SHIPPED.glob(f"*/{CONFIG_FILE}"))


def folder_of(name_or_path: str | Path | None) -> Path:
    """Folder of a model: a shipped name, a path, or None for the default. Raises ModelError."""
    asked = name_or_path if name_or_path is not None else DEFAULT_NAME
    for folder in (SHIPPED / str(asked), Path(asked)):
        if (folder / CONFIG_FILE).is_file():
            return folder
    names = ", ".join(shipped_names())
    raise ModelError(
        f"no model {asked!s}: give a folder with {CONFIG_FILE} and {WEIGHTS_FILE}, or "
        + (f"one of {names}" if names else "pip install 'streamcodec[codec]' for the shipped one")
    )


def describe(folder: Path) -> Description:
    """Raises ModelError for a folder that is missing, damaged or of another format, saying which
    file and why.
    """
    try:
        config_text = (folder / CONFIG_FILE).read_bytes()
        description = json.loads(config_text)
        if description.get("format") not in READABLE_FORMATS:
            readable = " and ".join(map(str, READABLE_FORMATS))
            raise ModelError(
                f"{folder}: model format {description.get('format')}, this program reads {readable}"
            )
        config = VaeConfig.from_dict(description["vae"])
        bitrates = tuple(float(b) for b in description["level_bitrates_bps"])
        digest = hashlib.sha256(config_text)
        with (folder / WEIGHTS_FILE).open("rb") as file:
            header, begin = _header(file)
            tables = _tables(file, header, begin)
            shape = (*tables.level_scale.shape, *tables.waveform.shape.tolist())
            wanted = (
                config.quality_levels,
                config.latent_dim,
                config.frames_per_packet,
                config.waveform_bins,
            )
            if shape != wanted:
                raise ValueError(
                    f"its tables are for levels, latents, frames and coefficients {shape}, "
                    f"its network for {wanted}"
                )
            file.seek(0)
            # Piece by piece: weights that only PyTorch reads need not be in memory.
            while piece := file.read(HASHED_BYTES):
                digest.update(piece)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(folder, error) from error
    model_hash = digest.hexdigest()[:HASH_DIGITS]
    return Description(config, bitrates, model_hash, _parameters(header), tables)


def high_band(folder: Path) -> tuple[HighBandTables, str] | None:
    """What a model's folder holds for full-band streams: tables, and 16 hex digits over their file;
    None where there is none. Raises ModelError for a file that is damaged.
    """
    return _tables_of_their_own(folder / HIGH_BAND_FILE, HighBandTables)


def joint_stereo(folder: Path) -> tuple[JointTables, str] | None:
    """For streams of two channels, as `high_band`."""
    return _tables_of_their_own(folder / JOINT_STEREO_FILE, _joint_tables)


def named_joint_tables(tables: JointTables) -> dict[str, NDArray[np.int32]]:
    """By the names of their tensors."""
    named = {n: v for n, v in vars(tables).items() if n not in JOINT_PARTS}
    for part in JOINT_PARTS:
        named |= {f"{part}.{n}": v for n, v in vars(getattr(tables, part)).items()}
    return named


def _joint_tables(**named: NDArray[np.int32]) -> JointTables:
    """Its inverse. Raises ValueError, KeyError, TypeError."""
    parts: dict[str, dict[str, NDArray[np.int32]]] = {"": {}, **{part: {} for part in JOINT_PARTS}}
    for name, table in named.items():
        part, _, field = name.rpartition(".")
        parts[part][field] = table
    latents, waveform = (FollowTables(**parts[part]) for part in JOINT_PARTS)
    return JointTables(latents, waveform, **parts[""])


Kind = TypeVar("Kind", HighBandTables, JointTables)


def _tables_of_their_own(path: Path, kind: Callable[..., Kind]) -> tuple[Kind, str] | None:
    try:
        with path.open("rb") as file:
            found = dict(_arrays(file, *_header(file)))
            file.seek(0)
            digest = hashlib.sha256(file.read()).hexdigest()
        tables = kind(**found)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
    return tables, digest[:HASH_DIGITS]


def unreadable(folder: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{folder} is no readable model: {(str(error) or type(error).__name__).splitlines()[0]}"
    )


def _header(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """A safetensors file -> what it says of its tensors, and where the first begins: 8 bytes of
    length, then JSON. Raises ValueError.
    """
    size = int.from_bytes(file.read(8), "little")
    if not 0 < size <= MAX_HEADER_BYTES:
        raise ValueError(f"{WEIGHTS_FILE} has a header of {size} bytes")
    tensors: dict[str, Any] = json.loads(file.read(size))
    tensors.pop("__metadata__", None)
    return tensors, 8 + size


def _parameters(tensors: dict[str, Any]) -> int:
    """Count of the weights; the noise table is none."""
    noise = ("noise", LAYERED_PREFIX + "noise")
    weights = [n for n in tensors if n not in noise and not n.startswith(TABLE_PREFIX)]
    return sum(math.prod(tensors[name]["shape"]) for name in weights)


def _tables(file: BinaryIO, tensors: dict[str, Any], begin: int) -> EntropyTables:
    """Raises ValueError, KeyError."""
    plain: dict[str, Any] = {}
    waveform: dict[str, NDArray[np.int32]] = {}
    tables = {n: tensor for n, tensor in tensors.items() if n.startswith(TABLE_PREFIX)}
    for name, array in _arrays(file, tables, begin, INTEGERS):
        name = name.removeprefix(TABLE_PREFIX)
        group = waveform if name.startswith(WAVEFORM_PREFIX) else plain
        group[name.removeprefix(WAVEFORM_PREFIX)] = array
    return EntropyTables(**plain, waveform=WaveformTables(**waveform))


def _arrays(
    file: BinaryIO, tensors: dict[str, Any], begin: int, types: Mapping[str, str] = TYPES
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Names and values; integers of any size as int32. Raises ValueError, KeyError."""
    for name, tensor in tensors.items():
        if tensor["dtype"] not in types:
            allowed = " or ".join(types)
            raise ValueError(f"{name} must be of type {allowed}, got {tensor['dtype']}")
        first, last = tensor["data_offsets"]
        file.seek(begin + first)
        values = np.frombuffer(file.read(last - first), types[tensor["dtype"]])
        kind = np.int32 if tensor["dtype"] in INTEGERS else np.float32
        yield name, values.reshape(tensor["shape"]).astype(kind)


def named_tables(tables: EntropyTables) -> dict[str, NDArray[np.int32]]:
    """By the names of their tensors; weights of the waveform layer's prior as 8-bit integers."""
    named = {f.name: getattr(tables, f.name) for f in dataclasses.fields(tables)}
    layer = named.pop("waveform")
    for field in dataclasses.fields(layer):
        values = getattr(layer, field.name)
        small = field.name.endswith("_weight")
        named[WAVEFORM_PREFIX + field.name] = values.astype(np.int8) if small else values
    return {TABLE_PREFIX + name: values for name, values in named.items()}
