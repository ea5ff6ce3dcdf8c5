import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from streamcodec import load_model
from streamcodec.coding.model import CodecModel
from streamcodec.errors import ConfigError, ModelError
from streamcodec_models import catalogue, weights


def test_save_and_load_keep_tables_exactly_and_weights_to_half_precision(
    model_folder: Path,
) -> None:
    from conftest import small_vae

    vae = small_vae()
    loaded = weights.load(model_folder)
    tables = vae.tables()
    for name in (
        "level_scale",
        "class_scale",
        "frequencies",
        "class_frequencies",
        "gain_frequencies",
    ):
        assert np.array_equal(getattr(loaded.tables, name), getattr(tables, name))
    for name, value in loaded.vae.state_dict().items():
        assert (value - vae.state_dict()[name]).abs().max() <= 1e-3 * max(
            1.0, vae.state_dict()[name].abs().max()
        )


def test_the_hash_is_that_of_the_files(
    model_folder: Path, model: CodecModel, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model_folder, copy)
    assert load_model(copy, "cpu").hash == model.hash
    description = json.loads((copy / "config.json").read_text())
    description["level_bitrates_bps"][0] += 1
    (copy / "config.json").write_text(json.dumps(description))
    assert load_model(copy, "cpu").hash != model.hash


def test_a_model_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(ModelError, match="no model nonesuch.*voice-16k"):
        load_model("nonesuch")


def test_damaged_weights_are_one_error(model_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model_folder, copy)
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="no readable model"):
        load_model(copy, "cpu")
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no readable model"):
        load_model(copy, "cpu")


def test_another_format_says_which(model_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model_folder, copy)
    description = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**description, "format": 99}))
    with pytest.raises(ModelError, match="format 99, this program reads 4"):
        load_model(copy, "cpu")


def test_unknown_devices_are_refused() -> None:
    with pytest.raises(ConfigError, match="auto, cpu, cuda"):
        load_model(device="tpu")


def test_the_shipped_model_is_small_and_has_its_card(shipped: CodecModel) -> None:
    folder = catalogue.folder_of(None)
    assert (folder / "model.safetensors").stat().st_size < 21_000_000  # two networks
    assert shipped.hash in (folder / "MODEL_CARD.md").read_text()
    rates, base_levels = list(shipped.level_bitrates_bps), shipped.engine.shape.base_levels
    for part in (rates[:base_levels], rates[base_levels:]):
        assert part == sorted(part)
    assert rates[base_levels] < rates[base_levels - 1] < rates[base_levels + 4]
