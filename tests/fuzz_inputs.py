"""What native/check/fuzz.c reads: `python tests/fuzz_inputs.py DIR` writes the tables of a model
(NAME.tables), its packed weights (NAME.PRECISION.native) and speech (speech.f32).

shipped: the default model. small: the untrained one of the tests, which has other shapes.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "models", "tests", "bench", "client")]

from conftest import SPEECH, small_vae  # noqa: E402
from streamcodec.coding.bitstream import ROUNDINGS  # noqa: E402
from streamcodec.coding.native_bitstream import WAVEFORM_INTEGERS  # noqa: E402
from streamcodec.coding.prices import Prices, bits_of  # noqa: E402
from streamcodec.coding.symbols import ESCAPE_BITS_MAX  # noqa: E402
from streamcodec.coding.waveform_prior import EIGHTHS  # noqa: E402
from streamcodec.tables import (  # noqa: E402
    BIT_WORTH,
    GAIN_MIN,
    LOUDNESS_COUNT,
    SYMBOL_LIMIT,
    EntropyTables,
)
from streamcodec_models import catalogue, weights  # noqa: E402
from streamcodec_models.pack import pack  # noqa: E402


def write_tables(tables: EntropyTables, path: Path) -> None:
    """ScTables of native/src/streamcodec.h as one file: sizes (int32), then all that is
    float64, then all other integers (int32).
    """
    prices = Prices.of(tables)
    levels, classes, latent = prices.rows.shape
    scales, symbols = tables.frequencies.shape
    sizes = (levels, classes, latent, scales, tables.gain_frequencies.shape[1], symbols)
    layer = tables.waveform
    limits = (GAIN_MIN, SYMBOL_LIMIT, ESCAPE_BITS_MAX)
    of_layer = (*layer.shape, len(layer.first_weight), len(layer.frequencies), LOUDNESS_COUNT)
    head = struct.pack("<14i4d", *sizes, *limits, *of_layer, BIT_WORTH, *ROUNDINGS)
    costs = (prices.symbols, prices.classes, prices.gains, bits_of(layer.frequencies), EIGHTHS)
    integers = (
        prices.rows,
        tables.level_frequencies,
        tables.frequencies,
        tables.class_frequencies,
        tables.gain_frequencies,
        *(getattr(layer, name) for name in WAVEFORM_INTEGERS),
    )
    arrays = [np.ascontiguousarray(a, "<f8").tobytes() for a in costs]
    arrays += [np.ascontiguousarray(a, "<i4").tobytes() for a in integers]
    path.write_bytes(head + b"".join(arrays))


def write_inputs(folder: Path) -> None:
    """All files into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    pcm, _ = soundfile.read(SPEECH, dtype="float32")
    (folder / "speech.f32").write_bytes(np.asarray(pcm, "<f4").tobytes())
    shipped = weights.load(catalogue.folder_of(None))
    small = small_vae()
    models = {
        "shipped": (shipped.vae, shipped.layered, shipped.tables),
        "small": (small, small_vae(1), small.tables()),
    }
    for name, (vae, layered, tables) in models.items():
        write_tables(tables, folder / f"{name}.tables")
        for precision in catalogue.PACKED_PRECISIONS:
            packed = pack(vae, "0" * catalogue.HASH_DIGITS, folder, precision, layered)
            packed.replace(folder / f"{name}.{precision}.native")


if __name__ == "__main__":
    write_inputs(Path(sys.argv[1]))
