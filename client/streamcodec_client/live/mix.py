"""Several talkers as one signal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamcodec.units import Pcm

SOFT_CLIP_KNEE = 0.8


def mix(parts: Sequence[Pcm]) -> Pcm:
    """The sum of [T, C] each. One part passes unchanged; the sum of several is soft-clipped."""
    if len(parts) == 1:
        return parts[0]
    return soft_clip(np.sum(parts, axis=0, dtype=np.float32))


def soft_clip(pcm: Pcm) -> Pcm:
    """Linear up to SOFT_CLIP_KNEE, then bent smoothly so that nothing exceeds full scale."""
    size = np.abs(pcm)
    room = np.float32(1 - SOFT_CLIP_KNEE)
    bent = SOFT_CLIP_KNEE + room * np.tanh((size - SOFT_CLIP_KNEE) / room)
    clipped: Pcm = np.where(size <= SOFT_CLIP_KNEE, pcm, np.sign(pcm) * bent).astype(np.float32)
    return clipped
