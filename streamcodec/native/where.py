"""Where the C library of native/ is, for whoever needs nothing else of it, NumPy for example."""

from __future__ import annotations

import sys
from pathlib import Path

NAMES = {"win32": "streamcodec.dll", "darwin": "libstreamcodec.dylib"}
FILE = Path(__file__).parent / NAMES.get(sys.platform, "libstreamcodec.so")
