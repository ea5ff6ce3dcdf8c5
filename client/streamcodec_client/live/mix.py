"""Several talkers as one signal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamcodec.units import Pcm

from ..audio.tracks import soft_clip


def mix(parts: Sequence[Pcm]) -> Pcm:
    """The sum of [T, C] each. One part passes unchanged; the sum of several is soft-clipped."""
    if len(parts) == 1:
        return parts[0]
    return soft_clip(np.sum(parts, axis=0, dtype=np.float32))
