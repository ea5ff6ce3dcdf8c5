"""A stream's coder: one call of the library says what engine and bitstream say one after the
other.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import streamcodec
from conftest import small_vae
from streamcodec import StreamDecoder, StreamEncoder
from streamcodec.coding.coder import Coder, NativeCoder
from streamcodec.coding.model import CodecModel, load_model
from streamcodec.coding.pcm import as_float_pcm
from streamcodec.config import MAX_PAYLOAD_BYTES
from streamcodec.engines.api import EncodeRequest
from streamcodec.errors import PayloadError
from streamcodec.native.library import library

pytestmark = pytest.mark.skipif(
    library() is None and not any(map(shutil.which, ("cc", "gcc", "clang"))),
    reason="no C compiler here, so the library could not be built",
)
SHAPES = [(packets, channels) for packets in (1, 2, 3) for channels in (1, 2)]


@pytest.fixture(scope="module")
def model() -> CodecModel:
    return load_model(engine="native")


def coders(model: CodecModel, packets: int = 1, channels: int = 1) -> tuple[Coder, Coder]:
    """In parts, and in one call."""
    config = model.stream_config(channels, 320 * packets, base_level=6)
    fused = model.coder(config)
    assert isinstance(fused, NativeCoder)
    return Coder(model.engine, model.bitstream, config), fused


@pytest.mark.parametrize(("packets", "channels"), SHAPES)
def test_one_call_says_what_its_parts_say(
    model: CodecModel, speech: NDArray[np.float32], packets: int, channels: int
) -> None:
    both, size = coders(model, packets, channels), 320 * packets
    sent = [model.engine.initial_encoder_state(channels) for _ in both]
    heard = [model.engine.initial_decoder_state(channels) for _ in both]
    level, loudest = 0, 0.0
    for n in range(model.engine.shape.base_levels):
        start = 16_000 + channels * size * n
        pcm = 30 * speech[start : start + channels * size].reshape(size, channels).T
        made = [c.encode(EncodeRequest(pcm, n, s)) for c, s in zip(both, sent, strict=True)]
        assert made[0][0] == made[1][0]
        sent = [after for _, after in made]
        assert np.array_equal(sent[0].array, sent[1].array)
        payload = None if n % 4 == 3 else made[0][0]
        out = [c.decode(payload, level, s) for c, s in zip(both, heard, strict=True)]
        assert np.array_equal(out[0][0], out[1][0])
        assert out[1][0].shape == (channels, size)
        loudest = max(loudest, np.abs(out[1][0]).max())
        level, heard = out[0][1], [after for _, _, after in out]
        assert out[1][1] == level == (n - 1 if payload is None else n)
        assert np.array_equal(heard[0].array, heard[1].array)
    assert loudest == 1  # what is louder than full scale is cut


def test_the_state_before_stays_valid_and_a_spare_one_is_used_again(
    model: CodecModel, speech: NDArray[np.float32]
) -> None:
    _, coder = coders(model)
    before, spare = (model.engine.initial_encoder_state(1) for _ in range(2))
    pcm = speech[None, 16_000:16_320]
    payload, after = coder.encode(EncodeRequest(pcm, 7, before))
    assert coder.encode(EncodeRequest(pcm, 2, before), spare)[1] is spare
    again, after_again = coder.encode(EncodeRequest(pcm, 7, before), spare)
    assert after_again is spare
    assert (again, after_again.array.tobytes()) == (payload, after.array.tobytes())
    assert np.array_equal(before.array, model.engine.initial_encoder_state(1).array)


def test_what_is_refused_is_refused_alike_and_changes_nothing(
    model: CodecModel, speech: NDArray[np.float32]
) -> None:
    both = coders(model)
    pcm = speech[None, 16_000:16_320]
    good, _ = both[0].encode(EncodeRequest(pcm, 6, model.engine.initial_encoder_state(1)))
    rng, said = np.random.default_rng(0), set()
    states = [model.engine.initial_decoder_state(1) for _ in both]
    hostile = [b"", bytes(MAX_PAYLOAD_BYTES + 1), good, good + bytes(9), b"\xff" * 40]
    hostile += [rng.bytes(int(rng.integers(1, 60))) for _ in range(60)]
    for payload in hostile:
        errors = []
        for n, coder in enumerate(both):
            before = states[n].array.copy()
            try:
                states[n] = coder.decode(payload, 0, states[n])[2]
                errors.append("")
            except PayloadError as error:
                errors.append(str(error))
                assert np.array_equal(states[n].array, before)
        assert errors[0] == errors[1]
        said.add(errors[0][:8])
        assert np.array_equal(states[0].array, states[1].array)
    assert len(said) >= 4  # read, and refused for several reasons


def test_a_model_goes_with_its_own_tables(model: CodecModel, tmp_path: Path) -> None:
    from streamcodec_models import weights
    from streamcodec_models.pack import pack

    vae = small_vae()
    weights.save(tmp_path, vae, vae.tables(), [3000.0 * 1.15**n for n in range(16)])
    pack(weights.load(tmp_path).vae, weights.load(tmp_path).hash, tmp_path, "mixed")
    small = load_model(tmp_path, engine="native")
    mixed = CodecModel(small.engine, model.bitstream, model.level_bitrates_bps, "")
    coder, state = mixed.coder(mixed.config), small.engine.initial_encoder_state(1)
    with pytest.raises(ValueError, match="lies outside what a payload can say"):
        coder.encode(EncodeRequest(np.zeros((1, 320), np.float32), 0, state))


def test_another_engine_is_coded_in_parts(model_folder: Path, speech: NDArray[np.float32]) -> None:
    torch = load_model(model_folder, "cpu", "torch")
    assert type(torch.coder(torch.config)) is Coder
    encoder = StreamEncoder(torch, quality=0.5)
    decoder = StreamDecoder(torch, encoder.config)
    for payload in encoder.encode(3 * speech[16_000:20_000]):
        assert np.abs(decoder.decode(payload)).max() <= 1


def test_one_stream_together_is_one_alone(model: CodecModel, speech: NDArray[np.float32]) -> None:
    encoders = [StreamEncoder(model, bitrate_bps=6_000, copies=True) for _ in range(2)]
    chunk = speech[16_000:24_000]
    assert streamcodec.encode_together(encoders[:1], [chunk]) == [encoders[1].encode(chunk)]
    assert encoders[0].copies == encoders[1].copies
    with pytest.raises(ValueError, match="zip"):
        streamcodec.decode_together([StreamDecoder(model, encoders[0].config)], [])
    assert streamcodec.encode_together([], []) == []


def test_pcm_is_never_that_of_the_caller() -> None:
    """Else what it does with its buffer next would be encoded."""
    mine = np.full(320, 0.5, np.float32)
    taken = as_float_pcm(mine, 1)
    mine[:] = 0
    assert taken.min() == 0.5


def test_names_of_the_package_are_looked_up_once() -> None:
    assert streamcodec.decode_together is vars(streamcodec)["decode_together"]
