"""Frozen bytes: a change here breaks streams that exist. tests/golden/regenerate.py renews them."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamcodec import CodecModel, StreamDecoder, decode
from streamcodec.coding.bitstream import Bitstream
from streamcodec.coding.container import read_container
from streamcodec.coding.native_bitstream import NativeBitstream
from streamcodec.tables import GAIN_MIN

GOLDEN = Path(__file__).parent / "golden"
_spec = importlib.util.spec_from_file_location("regenerate", GOLDEN / "regenerate.py")
assert _spec is not None
assert _spec.loader is not None
regenerate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(regenerate)


@pytest.mark.parametrize("kind", [Bitstream, NativeBitstream])
def test_the_coder_writes_and_reads_the_same_bytes(
    kind: type[Bitstream] | type[NativeBitstream],
) -> None:
    bitstream = kind(regenerate.hand_made_tables())
    payloads = json.loads((GOLDEN / "bitstream.json").read_text())
    made = regenerate.hand_made_latents()
    assert [
        bitstream.serialize(latents, regenerate.BASE_LEVEL).hex() for latents in made
    ] == payloads
    for latents, payload in zip(made, payloads, strict=True):
        packets, channels = latents.gain_index.shape
        parsed = bitstream.parse(bytes.fromhex(payload), packets, channels, regenerate.BASE_LEVEL)
        silent = latents.gain_index == GAIN_MIN
        assert np.array_equal(parsed.gain_index, latents.gain_index)
        assert np.array_equal(parsed.y[~silent], latents.y[~silent])
        assert (parsed.waveform is None) == (latents.waveform is None)
        if latents.waveform is not None:
            assert parsed.waveform is not None
            for field in dataclasses.fields(latents.waveform):
                got, wanted = (getattr(one.waveform, field.name) for one in (parsed, latents))
                assert np.array_equal(got, wanted), field.name


@pytest.mark.parametrize("name", regenerate.BITRATES_BPS)
def test_a_stream_of_the_shipped_model_decodes_to_the_same_integers_and_sound(
    shipped: CodecModel, name: str
) -> None:
    facts = json.loads((GOLDEN / f"{name}.json").read_text())
    with (GOLDEN / f"{name}.sc").open("rb") as file:
        recording = read_container(file)
    assert recording.damage is None
    assert recording.header.model == facts["model"] == shipped.hash
    payloads = [p for p in recording.payloads if p is not None]
    config = shipped.stream_config(base_level=recording.header.base_level)
    assert (
        regenerate.digest([shipped.bitstream.parse(p, 1, 1, config.base_level) for p in payloads])
        == facts["latents_sha256"]
    )
    heard = decode(payloads, StreamDecoder(shipped, config), recording.header.samples)[:, 0]
    wanted, _ = soundfile.read(GOLDEN / f"{name}.flac", dtype="float32")
    # Floats may differ in their last digits from machine to machine; the integers above may not.
    assert np.abs(heard - wanted).max() < 2e-3
