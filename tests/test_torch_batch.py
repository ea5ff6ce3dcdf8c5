"""Streams that share a step of the PyTorch engine are those that have one each."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import voice
from streamcodec.coding.model import CodecModel
from streamcodec.engines.api import DecodeRequest, EncodeRequest, Latents

CHANNELS, LEVELS = (1, 2, 1), (3, 9, 15)


@pytest.mark.parametrize("packets", [1, 2])
def test_a_batch_is_its_streams(shipped: CodecModel, packets: int) -> None:
    engine, size = shipped.engine, 320 * packets
    said = np.stack([voice(1, seed=seed) for seed in range(sum(CHANNELS))])
    rows = np.split(said, np.cumsum(CHANNELS)[:-1])
    encoders = [engine.initial_encoder_state(channels) for channels in CHANNELS]
    decoders = [engine.initial_decoder_state(channels) for channels in CHANNELS]
    for step in range(4):
        pieces = [pcm[:, step * size : (step + 1) * size] for pcm in rows]
        requests = [EncodeRequest(*r) for r in zip(pieces, LEVELS, encoders, strict=True)]
        together, alone = engine.encode_many(requests), [engine.encode(*r) for r in requests]
        for (means, _), (expected, _) in zip(together, alone, strict=True):
            assert np.array_equal(means.gain_index, expected.gain_index)
            assert np.allclose(means.mean, expected.mean, atol=1e-3)
        encoders = [state for _, state in together]
        holes = []
        for number, (means, _) in enumerate(together):
            y = np.rint(means.mean).astype(np.int32)
            latents = Latents(means.level, means.gain_index, y)
            lost = (step + number) % 3 == 2
            holes.append(
                DecodeRequest(
                    None if lost else latents,
                    packets,
                    CHANNELS[number],
                    LEVELS[number],
                    decoders[number],
                )
            )
        heard, separate = engine.decode_many(holes), [engine.decode_many([h])[0] for h in holes]
        for (pcm, _), (expected_pcm, _) in zip(heard, separate, strict=True):
            assert pcm.shape == expected_pcm.shape
            assert np.allclose(pcm, expected_pcm, atol=1e-4)
        decoders = [state for _, state in heard]


def test_streams_with_different_packets_have_a_step_each(shipped: CodecModel) -> None:
    engine = shipped.engine
    requests = [
        EncodeRequest(np.zeros((1, 320 * packets), np.float32), 3, engine.initial_encoder_state(1))
        for packets in (1, 2)
    ]
    assert [means.mean.shape[0] for means, _ in engine.encode_many(requests)] == [1, 2]
