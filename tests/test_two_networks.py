"""A model whose levels with the waveform layer have a network of their own."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from numpy.typing import NDArray

from conftest import SMALL, small_vae, voice
from streamcodec.coding.model import load_model
from streamcodec.coding.stream import StreamDecoder, StreamEncoder
from streamcodec.engines.api import DecodeRequest, EncodeRequest, Engine, Latents, Means
from streamcodec.engines.native import NativeEngine
from streamcodec.engines.torch import TorchEngine
from streamcodec.errors import ModelError
from streamcodec.native.library import library, variants
from streamcodec.units import Pcm
from streamcodec_models import catalogue, weights
from streamcodec_models.catalogue import packed_file
from streamcodec_models.pack import pack
from streamcodec_models.vae import VoiceVae
from streamcodec_training import checkpoint, export, tables
from streamcodec_training.checkpoint import Checkpoint
from streamcodec_training.cli import train

LAYERED = SMALL.base_levels  # the first level with the layer
LEVELS = [2, 2, LAYERED, LAYERED + 3, LAYERED, 5, LAYERED + 9, 0, 1, LAYERED]  # of packets
ENGINES = ["torch", *variants()]
Array = NDArray[np.float32]


@pytest.fixture(scope="module")
def networks() -> tuple[VoiceVae, VoiceVae]:
    return small_vae(0), small_vae(1)


@pytest.fixture(scope="module")
def packed(networks: tuple[VoiceVae, VoiceVae], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    for precision in catalogue.PACKED_PRECISIONS:
        pack(networks[0], "0" * 16, folder, precision, networks[1])
    return folder


def engine_of(name: str, networks: tuple[VoiceVae, VoiceVae], packed: Path) -> Engine:
    both = TorchEngine(*networks)
    if name == "torch":
        return both
    return NativeEngine(packed / packed_file("float32"), both.shape, name)


def packets() -> list[Pcm]:
    """[1, packet] for each of LEVELS."""
    sound = voice(1.0)[4_000 : 4_000 + len(LEVELS) * SMALL.packet]
    return [part[None] for part in np.split(sound, len(LEVELS))]


def coded(engines: list[Engine]) -> tuple[list[Means], list[Array], list[Pcm]]:
    """A stream whose packets go through the first engine or the last, by whether their level has
    the layer; the fourth is lost.
    """
    encoder = engines[0].initial_encoder_state(1)
    follower = decoder = engines[0].initial_decoder_state(1)
    means, residuals, heard = [], [], []
    for n, (pcm, level) in enumerate(zip(packets(), LEVELS, strict=True)):
        engine = engines[-1] if level >= LAYERED else engines[0]
        mean, encoder = engine.encode(pcm, level, encoder)
        latents = Latents(level, mean.gain_index, np.rint(mean.mean).astype(np.int32))
        residual, follower = engine.residual(mean, latents, follower)
        if n == 3:
            sound, decoder = engine.conceal(1, 1, level, decoder)
        else:
            sound, decoder = engine.decode(latents, decoder)
        means.append(mean)
        residuals += [residual] if level >= LAYERED else []
        heard.append(sound)
    return means, residuals, heard


def alike(a: Array, b: Array) -> bool:
    return float(np.square(a - b).sum()) <= 1e-8 * float(np.square(a).sum())


@pytest.mark.parametrize("name", ENGINES)
def test_each_level_has_its_network_and_a_stream_goes_from_one_to_the_other(
    name: str, networks: tuple[VoiceVae, VoiceVae], packed: Path
) -> None:
    means, residuals, heard = coded([engine_of(name, networks, packed)])
    wanted, wanted_residuals, wanted_heard = coded([TorchEngine(vae) for vae in networks])
    for got, want in zip(means, wanted, strict=True):
        assert np.array_equal(got.gain_index, want.gain_index)
        assert alike(want.mean, got.mean)
    assert all(map(alike, wanted_residuals, residuals))
    assert all(map(alike, wanted_heard, heard))
    one, _, _ = coded([TorchEngine(networks[0])])
    is_other = [not alike(a.mean, b.mean) for a, b in zip(one, means, strict=True)]
    assert is_other[:3] == [False, False, True]  # behind those its state is another one, too


@pytest.mark.parametrize("name", ENGINES)
def test_streams_of_both_kinds_share_a_call(
    name: str, networks: tuple[VoiceVae, VoiceVae], packed: Path
) -> None:
    engine = engine_of(name, networks, packed)
    fresh = engine.initial_encoder_state(1)
    requests = [EncodeRequest(p, n, fresh) for p, n in zip(packets(), LEVELS, strict=True)]
    together = engine.encode_many(requests)
    alone = [engine.encode(*request) for request in requests]
    for (got, _), (want, _) in zip(together, alone, strict=True):
        assert got.level == want.level
        assert alike(want.mean, got.mean)
    state, asked = engine.initial_decoder_state(1), []
    for n, (mean, _) in enumerate(alone):
        latents = Latents(mean.level, mean.gain_index, np.rint(mean.mean).astype(np.int32))
        asked.append(DecodeRequest(None if n in (1, 6) else latents, 1, 1, mean.level, state))
    for (got_pcm, _), request in zip(engine.decode_many(asked), asked, strict=True):
        want_pcm = engine.decode_many([request])[0][0]
        assert alike(want_pcm, got_pcm)


@pytest.mark.skipif(library() is None, reason="no C compiler here")
@pytest.mark.parametrize("change", ["cut", "longer", "half", "other shape", "other version"])
def test_the_second_network_of_packed_weights_is_checked(
    change: str, networks: tuple[VoiceVae, VoiceVae], packed: Path, tmp_path: Path
) -> None:
    stored = (packed / packed_file("mixed")).read_bytes()
    second = len(stored) // 2
    file = tmp_path / packed_file("mixed")
    file.write_bytes(
        {
            "cut": stored[:-64],
            "longer": stored + bytes(64),
            "half": stored[: second + 64],
            "other shape": stored[: second + 32] + bytes(4) + stored[second + 36 :],
            "other version": stored[: second + 8] + b"\x09" + stored[second + 9 :],
        }[change]
    )
    with pytest.raises(ModelError, match="damaged, or packed by another version"):
        NativeEngine(file, TorchEngine(*networks).shape)


def saved(folder: Path, networks: tuple[VoiceVae, VoiceVae]) -> Path:
    rates = [3000.0 * 1.15**level for level in range(SMALL.quality_levels)]
    weights.save(folder, networks[0], networks[0].tables(), rates, networks[1])
    return folder


def test_a_folder_holds_both_networks(
    networks: tuple[VoiceVae, VoiceVae], model_folder: Path, tmp_path: Path
) -> None:
    stored = weights.load(saved(tmp_path, networks))
    assert stored.layered is not None
    for vae, got in zip(networks, (stored.vae, stored.layered), strict=True):
        for name, tensor in got.state_dict().items():
            assert torch.equal(tensor, vae.state_dict()[name].half().float())
    count = catalogue.describe(tmp_path).parameters
    assert count == 2 * catalogue.describe(model_folder).parameters
    for layered, vae in zip((False, True), networks, strict=True):
        found = checkpoint.load_vae(tmp_path, layered=layered).to_latent.weight
        assert torch.equal(found, vae.to_latent.weight.half().float())
    assert weights.load(model_folder).layered is None
    one = checkpoint.load_vae(model_folder, layered=True).to_latent.weight
    assert torch.equal(one, small_vae().to_latent.weight.half().float())


def with_format(source: Path, folder: Path, number: int) -> Path:
    shutil.copytree(source, folder)
    config = json.loads((folder / catalogue.CONFIG_FILE).read_text())
    (folder / catalogue.CONFIG_FILE).write_text(json.dumps({**config, "format": number}))
    return folder


def test_a_model_of_the_format_before_is_read_and_one_to_come_is_refused(
    model_folder: Path, tmp_path: Path
) -> None:
    assert weights.load(with_format(model_folder, tmp_path / "before", 4)).layered is None
    with pytest.raises(ModelError, match="model format 6, this program reads 4 and 5"):
        weights.load(with_format(model_folder, tmp_path / "after", 6))


def test_finish_joins_two_runs(
    networks: tuple[VoiceVae, VoiceVae], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "FIT_SEGMENTS", 2)
    monkeypatch.setattr(export, "CALIBRATION_SECONDS", 1)
    monkeypatch.setattr(tables, "SCALE_STEPS", 10)
    data, model = tmp_path / "data", tmp_path / "model"
    data.mkdir()
    soundfile.write(data / "voice.wav", voice(7), 16_000)
    files = [tmp_path / "base.pt", tmp_path / "layered.pt"]
    for path, vae in zip(files, networks, strict=True):
        checkpoint.save(path, Checkpoint(SMALL, vae.state_dict()))
    command: list[Any] = ["finish", files[0], "--layered", files[1], "--data", data]
    command += ["--export", model, "--no-fit-swell"]
    ended = CliRunner().invoke(train, list(map(str, command)), catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    prior = small_vae(1).tables().waveform.last_weight
    assert np.array_equal(catalogue.describe(model).tables.waveform.last_weight, prior)
    for engine in ("torch", "native") if library() is not None else ("torch",):
        both = load_model(model, "cpu", engine)
        encoder = StreamEncoder(both, level=LAYERED)
        payloads = encoder.encode(voice(1.0)[: 5 * SMALL.packet])
        assert StreamDecoder(both, encoder.config).decode(payloads[0]).shape[0] == SMALL.packet
    rates = catalogue.describe(model).level_bitrates_bps[LAYERED:]
    assert all(a < b for a, b in pairwise(rates))


def test_networks_of_two_shapes_do_not_make_a_model(
    networks: tuple[VoiceVae, VoiceVae], tmp_path: Path
) -> None:
    other = catalogue.VaeConfig(**{**SMALL.__dict__, "encoder_dim": SMALL.encoder_dim + 8})
    files = [tmp_path / "base.pt", tmp_path / "layered.pt"]
    checkpoint.save(files[0], Checkpoint(SMALL, networks[0].state_dict()))
    checkpoint.save(files[1], Checkpoint(other, VoiceVae(other).state_dict()))
    command: list[Any] = ["finish", files[0], "--layered", files[1], "--data", tmp_path]
    command += ["--export", tmp_path / "model"]
    with pytest.raises(ModelError, match="layered.pt holds a network of another shape than .*base"):
        CliRunner().invoke(train, list(map(str, command)), catch_exceptions=False)
