"""What native/check/fuzz.c reads: `python tests/fuzz_inputs.py DIR` writes the tables of a model
(NAME.tables), its packed weights (NAME.PRECISION.native) and speech (speech.f32); of the shipped
one also the tables of joint stereo (shipped.joint) and of the high band (shipped.highband).

shipped: the default model. small: the untrained one of the tests, which has other shapes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "models", "tests", "bench", "client")]

from conftest import SPEECH, small_vae  # noqa: E402
from streamcodec.coding.high_band import NumpyHighBand  # noqa: E402
from streamcodec.coding.native_high_band import packed_high_band  # noqa: E402
from streamcodec.coding.packed_tables import packed_joint_tables, packed_tables  # noqa: E402
from streamcodec_models import catalogue, weights  # noqa: E402
from streamcodec_models.pack import pack  # noqa: E402


def write_inputs(folder: Path) -> None:
    """All files into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    pcm, _ = soundfile.read(SPEECH, dtype="float32")
    (folder / "speech.f32").write_bytes(np.asarray(pcm, "<f4").tobytes())
    shipped = weights.load(catalogue.folder_of(None))
    joint = catalogue.joint_stereo(catalogue.folder_of(None))
    assert joint is not None
    (folder / "shipped.joint").write_bytes(packed_joint_tables(joint[0]))
    band = catalogue.high_band(catalogue.folder_of(None))
    assert band is not None
    config = catalogue.describe(catalogue.folder_of(None)).config
    reference = NumpyHighBand(band[0], config.packet, config.overlap)
    (folder / "shipped.highband").write_bytes(packed_high_band(reference))
    small = small_vae()
    models = {
        "shipped": (shipped.vae, shipped.layered, shipped.tables),
        "small": (small, small_vae(1), small.tables()),
    }
    for name, (vae, layered, tables) in models.items():
        (folder / f"{name}.tables").write_bytes(packed_tables(tables))
        for precision in catalogue.PACKED_PRECISIONS:
            packed = pack(vae, "0" * catalogue.HASH_DIGITS, folder, precision, layered)
            packed.replace(folder / f"{name}.{precision}.native")


if __name__ == "__main__":
    write_inputs(Path(sys.argv[1]))
