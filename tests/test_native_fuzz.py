"""Foreign bytes, extreme values, hostile files and many threads against the C library.

The loops are in native/check/fuzz.c, as a program on the library that is installed; `make
fuzz-native` runs the same with sanitizers and a hundred times as many.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fuzz_inputs import write_inputs
from streamcodec import StreamDecoder, StreamEncoder
from streamcodec.coding.model import load_model
from streamcodec.coding.native_bitstream import NativeBitstream
from streamcodec.coding.symbols import LATENT_LIMIT
from streamcodec.engines.api import Means, ModelShape
from streamcodec.engines.native import NativeEngine
from streamcodec.errors import ModelError
from streamcodec.native.library import FILE, library
from streamcodec_models import catalogue
from streamcodec_models.pack import shape_of
from streamcodec_models.weights import load

COMPILER = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
pytestmark = pytest.mark.skipif(
    library() is None and COMPILER is None,
    reason="no C compiler here, so the library could not be built",
)
SOURCE = Path(__file__).parents[1] / "native" / "check" / "fuzz.c"
PACKED = [f"{m}.{p}" for m in ("shipped", "small") for p in catalogue.PACKED_PRECISIONS]
SHIPPED_SHAPE = ModelShape(16_000, 160, 80, 2, 192, 24, 12, 80)
SHAPE_AT, SHAPE_END = 32, 140  # of the header of packed weights


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    write_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def fuzz(inputs: Path) -> Path:
    if COMPILER is None:
        pytest.skip("no C compiler here")
    program = inputs / "fuzz"
    options = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", f"-Wl,-rpath,{FILE.parent}")
    command = [COMPILER, *options, str(SOURCE), str(FILE), "-lm", "-o", str(program)]
    subprocess.run(command, check=True)
    return program


def said(program: Path, *arguments: str) -> str:
    """What a mode prints. It ends by itself at the first fault."""
    done = subprocess.run(
        [str(program), *arguments], cwd=program.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("model", "count"), [("shipped", 100_000), ("small", 20_000)])
def test_foreign_payloads_are_refused_or_written_again_alike(
    fuzz: Path, model: str, count: int
) -> None:
    files = (f"{model}.tables", f"{model}.mixed.native", "speech.f32")
    counts = [int(n) for n in re.findall(r"\d+", said(fuzz, "payloads", *files, str(count), "1"))]
    assert counts[0] == sum(counts[1:5]) == count
    assert min(counts[1:6]) > 0  # each way to end was met, and the waveform layer


def test_foreign_payloads_of_joint_stereo_are_refused_or_written_again_alike(fuzz: Path) -> None:
    files = ("shipped.tables", "shipped.joint", "shipped.mixed.native", "speech.f32")
    counts = [int(n) for n in re.findall(r"\d+", said(fuzz, "joint", *files, "50000", "1"))]
    assert counts[0] == sum(counts[1:5]) == 50_000
    assert min(counts[1:6]) > 0


@pytest.mark.parametrize("name", PACKED)
def test_extreme_values_stay_finite(fuzz: Path, name: str) -> None:
    tables = f"{name.split('.')[0]}.tables"
    assert "finite" in said(fuzz, "extremes", tables, f"{name}.native", "40", "1")


@pytest.mark.parametrize("name", PACKED)
def test_batches_of_any_size_are_their_streams(fuzz: Path, name: str) -> None:
    assert "as alone" in said(fuzz, "batches", f"{name}.native", "speech.f32", "4")


@pytest.mark.parametrize("name", ["shipped.mixed", "small.mixed"])
def test_one_call_for_a_stream_is_its_parts(fuzz: Path, name: str) -> None:
    files = (f"{name.split('.')[0]}.tables", f"{name}.native", "speech.f32")
    assert "alike in one call and in parts" in said(fuzz, "coder", *files, "300", "1")


def test_the_high_band_takes_any_sound_and_any_description(fuzz: Path) -> None:
    assert "tables of the high band" in said(fuzz, "highband", "shipped.highband", "2000", "1")


def test_heads_of_packed_weights_are_refused_or_run(fuzz: Path) -> None:
    assert "heads" in said(fuzz, "headers", "shipped.mixed.native", "5000", "1")


@pytest.fixture(scope="module")
def shape() -> dict[str, int]:
    return shape_of(load(catalogue.folder_of(None)).vae)


@pytest.mark.parametrize(
    "change",
    [
        {"frames_per_packet": 1, "overlap": 160, "hop": 160, "window": 256},
        {"comb_fine_window": 308, "comb_window": 288, "low_pass": 24, "decimation": 4},
        {"comb_block": 160, "comb_window": 32, "comb_fine_window": 16, "low_pass": 8},
        {"comb_block": 160, "longest": 64, "shortest": 32, "comb_window": 32, "low_pass": 400},
        {"expansion": 8, "decoder_dim": 264},
        {"longest": 2**31 - 8},
        {"levels": 1},
        {"hop": -160},
        {"waveform_bins": 168},
        {"waveform_bins": 76},
        {"base_levels": 25},
    ],
)
def test_shapes_that_reach_beyond_their_arrays_are_refused(
    shape: dict[str, int], tmp_path: Path, change: dict[str, int]
) -> None:
    packed = (catalogue.folder_of(None) / catalogue.packed_file("mixed")).read_bytes()
    changed = np.array(list({**shape, **change}.values()), "<i4").tobytes()
    assert len(changed) == SHAPE_END - SHAPE_AT
    path = tmp_path / "hostile.native"
    path.write_bytes(packed[:SHAPE_AT] + changed + packed[SHAPE_END:])
    with pytest.raises(ModelError, match="does not run networks of this shape"):
        NativeEngine(path, SHIPPED_SHAPE)


def test_weights_packed_for_other_packets_are_refused(inputs: Path) -> None:
    with pytest.raises(
        ModelError, match=r"of \[320, 32, 24, 12, 80, 160\]; .*320, 192, 24, 12, 80, 160"
    ):
        NativeEngine(inputs / "small.mixed.native", SHIPPED_SHAPE)


@pytest.mark.parametrize(
    "name",
    ["level_frequencies", "class_scale", "frequencies", "class_frequencies", "gain_frequencies"],
)
def test_tables_of_other_shapes_are_refused(name: str) -> None:
    tables = catalogue.describe(catalogue.folder_of(None)).tables
    with pytest.raises(ValueError, match=f"entropy table {name} must be of shape"):
        dataclasses.replace(tables, **{name: getattr(tables, name)[:, 1:]})
    with pytest.raises(ValueError, match="level_scale must be of two dimensions"):
        dataclasses.replace(tables, level_scale=tables.level_scale[0])


def test_tables_of_another_network_are_refused(tmp_path: Path, model_folder: Path) -> None:
    shipped = catalogue.folder_of(None)
    (tmp_path / catalogue.CONFIG_FILE).symlink_to(shipped / catalogue.CONFIG_FILE)
    (tmp_path / catalogue.WEIGHTS_FILE).symlink_to(model_folder / catalogue.WEIGHTS_FILE)
    with pytest.raises(ModelError, match=r"frames and coefficients \(24, 32, 2, 80\), it"):
        catalogue.describe(tmp_path)


def test_a_mean_that_is_no_number_is_coded_as_zero() -> None:
    bitstream = NativeBitstream(catalogue.describe(catalogue.folder_of(None)).tables)
    mean = np.zeros((1, 1, bitstream.latent_dim), np.float32)
    mean[..., 3], mean[..., 5], mean[..., 7] = np.nan, 4.0, np.inf
    no_coefficients = np.empty((1, 1, 0, 0), np.float32)
    means = Means(7, np.zeros((1, 1), np.int32), mean, no_coefficients)
    latents, payload = bitstream.encode(means, 7)
    assert latents.y[0, 0, [3, 5, 7]].tolist() == [0, 4, LATENT_LIMIT]
    assert np.array_equal(bitstream.parse(payload, 1, 1, 7).y, latents.y)


def test_threads_over_one_model_say_what_one_thread_says(speech: NDArray[np.float32]) -> None:
    model = load_model(engine="native")
    threads, at_once = 4, threading.Barrier(4)

    def talk(n: int, wait: bool) -> tuple[list[bytes], bytes]:
        encoder = StreamEncoder(model, bitrate_bps=3_000 * (n + 1))
        decoder = StreamDecoder(model, encoder.config)
        if wait:
            at_once.wait()
        payloads = encoder.encode(speech[40_000 * n : 40_000 * n + 64_000])
        heard = [decoder.decode(None if i % 9 == 8 else p) for i, p in enumerate(payloads)]
        return payloads, np.concatenate(heard).tobytes()

    alone = [talk(n, False) for n in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        together = list(pool.map(lambda n: talk(n, True), range(threads)))
    assert together == alone
