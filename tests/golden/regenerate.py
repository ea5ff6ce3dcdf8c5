"""Writes the golden files anew: `python tests/golden/regenerate.py`. A visible, versioned decision:
say why in CHANGELOG.md.

bitstream.json: latents under hand-made integer tables, half of them with the waveform layer, and
their payloads. Freezes the range coder, the order of symbols, and the layer's integer prior.

voice-16k.sc: two seconds of speech through the shipped model, with the digest of its integers
(voice-16k.json) and what the decoder made of them (voice-16k.flac). Freezes the tables and, within
a tolerance, the sound. voice-16k-layer the same, at a rate with the waveform layer.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

GOLDEN = Path(__file__).parent
ROOT = GOLDEN.parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "models", "tests")]

from streamcodec import StreamDecoder, StreamEncoder, decode, encode, load_model  # noqa: E402
from streamcodec.coding.bitstream import Bitstream  # noqa: E402
from streamcodec.coding.container import read_container, write_container  # noqa: E402
from streamcodec.coding.waveform_prior import step_sizes  # noqa: E402
from streamcodec.engines.api import Latents, Waveform  # noqa: E402
from streamcodec.tables import (  # noqa: E402
    GAIN_COUNT,
    GAIN_MIN,
    LOUDNESS_COUNT,
    SYMBOL_LIMIT,
    EntropyTables,
    WaveformTables,
)

LEVELS, CLASSES, SCALES, LATENTS = 16, 3, 9, 12
BASE_LEVEL = 5
SPEECH = ROOT / "bench" / "streamcodec_bench" / "speech" / "librispeech.flac"
SECONDS = 2
BITRATES_BPS = {"voice-16k": 6_000, "voice-16k-layer": 14_000}
LAYERED_FROM = 8  # levels with the waveform layer
FRAMES, BINS, WIDTH = 2, 8, 6


def row(decay: int, symbols: int) -> list[int]:
    """Frequencies with their peak in the middle."""
    weights = [1 + (1 << 15) // (1 + decay * abs(s - symbols // 2) ** 2) for s in range(symbols)]
    counts = [max(1, w * (1 << 16) // (2 * sum(weights))) for w in weights]
    counts[symbols // 2] += (1 << 16) - sum(counts)
    return counts


def hand_made_waveform_tables() -> WaveformTables:
    def weight(outputs: int, inputs: int) -> NDArray[np.int32]:
        index = np.arange(outputs * inputs).reshape(outputs, inputs)
        return ((index * 37 + outputs) % 255 - 127).astype(np.int32)

    outputs = FRAMES * BINS + BINS // 4
    levels = np.arange(LEVELS)
    return WaveformTables(
        shape=np.array([FRAMES, BINS], np.int32),
        first_weight=weight(WIDTH, LATENTS + 2),
        first_bias=np.arange(WIDTH, dtype=np.int32) * 300,
        second_weight=weight(WIDTH, WIDTH),
        second_bias=np.arange(WIDTH, dtype=np.int32) * -2_000,
        last_weight=weight(outputs, WIDTH),
        last_bias=np.arange(outputs, dtype=np.int32) * 500,
        level_base=(levels * 2).astype(np.int32),
        level_step=(8 - levels).astype(np.int32),
        level_bins=np.where(levels < LAYERED_FROM, 0, BINS - levels % 2 * 4).astype(np.int32),
        frequencies=np.array([row(1 + s, 2 * SYMBOL_LIMIT + 2) for s in range(97)], np.int32),
        coded_frequencies=np.array([row(1 + s, 2) for s in range(LEVELS)], np.int32),
        loudness_frequencies=np.array([row(1, LOUDNESS_COUNT)], np.int32),
    )


def hand_made_tables() -> EntropyTables:
    """Integers only, so that no machine's floats can take part."""
    return EntropyTables(
        level_frequencies=np.array([row(1 + level, LEVELS) for level in range(LEVELS)], np.int32),
        level_scale=np.array(
            [[(level + d) % SCALES for d in range(LATENTS)] for level in range(LEVELS)], np.int32
        ),
        class_scale=np.array(
            [[(c * 2 - d) % 5 - 2 for d in range(LATENTS)] for c in range(CLASSES)], np.int32
        ),
        frequencies=np.array([row(1 + s, 2 * SYMBOL_LIMIT + 2) for s in range(SCALES)], np.int32),
        class_frequencies=np.array(
            [row(1 + level, CLASSES + 1) for level in range(LEVELS)], np.int32
        ),
        gain_frequencies=np.array([row(1 + c, GAIN_COUNT - 1) for c in range(CLASSES)], np.int32),
        waveform=hand_made_waveform_tables(),
    )


def hand_made_latents() -> list[Latents]:
    """Every level, one to three packets, one and two channels, silence, zeros, escapes."""
    made = []
    for level in range(LEVELS):
        packets, channels = 1 + level % 3, 1 + level % 2
        index = np.arange(packets * channels * LATENTS).reshape(packets, channels, LATENTS)
        y = ((index * 7 + level * 3) % 11 - 5) * (index % 3 == 0) + (index % 29 == 28) * (
            400 if level % 2 else -40
        )
        gain = (
            GAIN_MIN
            + (np.arange(packets * channels).reshape(packets, channels) * 13 + level * 5)
            % GAIN_COUNT
        )
        latents = Latents(level, gain.astype(np.int32), y.astype(np.int32))
        made.append(latents if level < LAYERED_FROM else hand_made_layer(latents))
    return made


def hand_made_layer(latents: Latents) -> Latents:
    """The latents with a layer that is empty in every third packet."""
    (packets, channels), tables = latents.gain_index.shape, hand_made_waveform_tables()
    bins = int(tables.level_bins[latents.level])
    number = np.arange(packets * channels).reshape(packets, channels)
    coded = (number % 3 < 2) & (latents.gain_index > GAIN_MIN)
    index = np.arange(packets * channels * FRAMES * BINS).reshape(packets, channels, FRAMES, BINS)
    q = (index * 5 % 7 - 3) * (index % 4 > 0) + (index % 31 == 30) * 100
    q[..., bins:] = 0
    q *= coded[..., None, None]
    loudness = np.where(coded, (number * 5 + latents.level) % LOUDNESS_COUNT, 0)
    coder = Bitstream(hand_made_tables()).waveform
    steps = np.zeros((packets, channels, BINS // 4), np.float32)
    for p, c in np.argwhere(coded).tolist():
        prices = coder.prices(latents, p, c, int(loudness[p, c]))
        steps[p, c] = step_sizes(prices.step_rows)
    layer = Waveform(bins, coded, loudness.astype(np.int32), q.astype(np.int32), steps)
    return latents._replace(waveform=layer)


def digest(latents: list[Latents]) -> str:
    """Of the integers that a decoder reads."""
    sha = hashlib.sha256()
    for one in latents:
        sha.update(
            np.int32(one.level).tobytes()
            + one.gain_index.astype("<i4").tobytes()
            + one.y.astype("<i4").tobytes()
        )
        if one.waveform is not None:
            sha.update(one.waveform.loudness.astype("<i4").tobytes())
            sha.update(one.waveform.q.astype("<i4").tobytes())
    return sha.hexdigest()


def speech() -> NDArray[np.float32]:
    pcm, _ = soundfile.read(SPEECH, dtype="float32", stop=SECONDS * 16_000)
    return np.asarray(pcm)


def main() -> None:
    bitstream = Bitstream(hand_made_tables())
    payloads = [bitstream.serialize(latents, BASE_LEVEL).hex() for latents in hand_made_latents()]
    (GOLDEN / "bitstream.json").write_text(json.dumps(payloads, indent=1) + "\n")
    # PyTorch's: the native engine rounds differently on different processors.
    model = load_model(device="cpu", engine="torch")
    for name, bitrate_bps in BITRATES_BPS.items():
        encoder = StreamEncoder(model, bitrate_bps=bitrate_bps)
        made, config = encode(speech(), encoder), encoder.config
        header = encoder.header(SECONDS * 16_000, len(made))
        with (GOLDEN / f"{name}.sc").open("wb") as file:
            write_container(file, header, made)
        with (GOLDEN / f"{name}.sc").open("rb") as file:
            recording = read_container(file)
        parsed = [
            model.bitstream.parse(p, 1, 1, config.base_level)
            for p in recording.payloads
            if p is not None
        ]
        (GOLDEN / f"{name}.json").write_text(
            json.dumps({"model": model.hash, "latents_sha256": digest(parsed)}, indent=1) + "\n"
        )
        soundfile.write(
            GOLDEN / f"{name}.flac",
            decode(made, StreamDecoder(model, config), len(speech())),
            16_000,
            subtype="PCM_16",
        )


if __name__ == "__main__":
    main()
