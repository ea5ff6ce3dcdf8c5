"""Whole recordings through a stream's encoder and decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PayloadError
from ..units import Pcm
from .stream import StreamDecoder, StreamEncoder


def encode(pcm: NDArray[Any], encoder: StreamEncoder) -> list[bytes]:
    """A whole recording -> its payloads. The encoder is reset before and after."""
    encoder.reset()
    return encoder.encode(pcm) + encoder.flush()


def decode(
    payloads: Iterable[bytes | None],
    decoder: StreamDecoder,
    samples: int | None = None,
    on_damaged: Callable[[PayloadError], None] | None = None,
) -> Pcm:
    """Payloads -> float32 [T, channels], aligned with what was encoded and cut to `samples` where
    the length is known.

    A damaged payload raises PayloadError or, where `on_damaged` is given, is told to it and
    concealed.
    """
    pieces = [*decode_pieces(payloads, decoder, samples, on_damaged)]
    return np.concatenate([np.zeros((0, decoder.config.channels), np.float32), *pieces])


def decode_pieces(
    payloads: Iterable[bytes | None],
    decoder: StreamDecoder,
    samples: int | None = None,
    on_damaged: Callable[[PayloadError], None] | None = None,
) -> Iterator[Pcm]:
    """As `decode`, a piece for each payload and one for the end: a day of audio need not fit into
    memory.
    """
    decoder.reset()
    skipped = round(decoder.config.overlap * decoder.sample_rate / decoder.config.sample_rate)
    left = samples
    for pcm in _decoded(payloads, decoder, on_damaged):
        piece = pcm[skipped:] if left is None else pcm[skipped : skipped + left]
        skipped -= min(skipped, len(pcm))
        left = None if left is None else left - len(piece)
        yield piece


def _decoded(
    payloads: Iterable[bytes | None],
    decoder: StreamDecoder,
    on_damaged: Callable[[PayloadError], None] | None,
) -> Iterator[Pcm]:
    for payload in payloads:
        try:
            yield decoder.decode(payload)
        except PayloadError as error:
            if on_damaged is None:
                raise
            on_damaged(error)
            yield decoder.decode(None)
    yield decoder.flush()
