"""Types and factors that PCM and clocks are stated in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.float32]  # [T] or [T, C], full scale 1
NS = 1_000_000_000  # nanoseconds a second
