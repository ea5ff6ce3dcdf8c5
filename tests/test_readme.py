"""The Python of README.md, as a reader would paste it."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import correlate

README = Path(__file__).parents[1] / "README.md"
SECONDS = 2


def test_the_snippet_of_the_readme_plays_what_it_encodes(speech: NDArray[np.float32]) -> None:
    snippet, live = re.findall(
        r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE
    )
    pcm = np.repeat(speech[16_000 : (1 + SECONDS) * 16_000], 3)  # from 16 to 48 kHz
    played: list[NDArray[np.float32]] = []
    exec(compile(snippet, str(README), "exec"), {"pcm": pcm, "play": played.append})
    sound = np.concatenate(played)[:, 0]
    assert 0.9 * len(pcm) < len(sound) <= len(pcm)
    likeness = correlate(sound, pcm, "full").max()
    assert "connect(" in live  # runs in test_python_page.py
    assert likeness > 0.8 * np.linalg.norm(sound) * np.linalg.norm(pcm[: len(sound)])
