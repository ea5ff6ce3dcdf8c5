"""Writes the golden files anew: `python tests/golden/regenerate.py`. A visible, versioned decision:
say why in CHANGELOG.md.

bitstream.json: latents under hand-made integer tables, and their payloads. Freezes the range coder
and the order of symbols.

voice-16k.sc: two seconds of speech through the shipped model, with the digest of its integer
latents (voice-16k.json) and what the decoder made of them (voice-16k.flac). Freezes the tables and,
within a tolerance, the sound.
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
from streamcodec.engines.api import Latents  # noqa: E402
from streamcodec.tables import GAIN_COUNT, GAIN_MIN, SYMBOL_LIMIT, EntropyTables  # noqa: E402

LEVELS, CLASSES, SCALES, LATENTS = 16, 3, 9, 12
BASE_LEVEL = 5
SPEECH = ROOT / "bench" / "streamcodec_bench" / "speech" / "librispeech.flac"
SECONDS = 2


def hand_made_tables() -> EntropyTables:
    """Integers only, so that no machine's floats can take part."""

    def row(decay: int, symbols: int) -> list[int]:
        weights = [
            1 + (1 << 15) // (1 + decay * abs(s - symbols // 2) ** 2) for s in range(symbols)
        ]
        counts = [max(1, w * (1 << 16) // (2 * sum(weights))) for w in weights]
        counts[symbols // 2] += (1 << 16) - sum(counts)
        return counts

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
        made.append(Latents(level, gain.astype(np.int32), y.astype(np.int32)))
    return made


def digest(latents: list[Latents]) -> str:
    """Of the integers that a decoder reads."""
    sha = hashlib.sha256()
    for one in latents:
        sha.update(
            np.int32(one.level).tobytes()
            + one.gain_index.astype("<i4").tobytes()
            + one.y.astype("<i4").tobytes()
        )
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
    encoder = StreamEncoder(model, bitrate_bps=6_000)
    made, config = encode(speech(), encoder), encoder.config
    header = encoder.header(SECONDS * 16_000, len(made))
    with (GOLDEN / "voice-16k.sc").open("wb") as file:
        write_container(file, header, made)
    with (GOLDEN / "voice-16k.sc").open("rb") as file:
        recording = read_container(file)
    parsed = [
        model.bitstream.parse(p, 1, 1, config.base_level)
        for p in recording.payloads
        if p is not None
    ]
    (GOLDEN / "voice-16k.json").write_text(
        json.dumps({"model": model.hash, "latents_sha256": digest(parsed)}, indent=1) + "\n"
    )
    soundfile.write(
        GOLDEN / "voice-16k.flac",
        decode(made, StreamDecoder(model, config), len(speech())),
        16_000,
        subtype="PCM_16",
    )


if __name__ == "__main__":
    main()
