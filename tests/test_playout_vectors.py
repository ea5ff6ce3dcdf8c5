"""The playout in Python and the one of the browser page answer alike."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from playout_vectors import ANSWERS, FILE, arguments

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "server" / "streamcodec_server" / "page" / "core.js"
NODE = shutil.which("node")
# by part, where it is not 1e-6: NumPy's sums depend on the processor
TOLERANCES = {"time_scaler": 1e-4, "loss_fade": 1e-4, "noise_powers": 1.0, "levels": 1e-3}

VECTORS: dict[str, dict[str, dict[str, Any]]] = json.loads(FILE.read_text())
CASES = [(part, name) for part, cases in VECTORS.items() for name in cases]


def same(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(
            same(*pair, tolerance) for pair in zip(one, other, strict=True)
        )
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= tolerance
    return bool(one == other)


@pytest.mark.parametrize(("part", "name"), CASES)
def test_python_answers_as_the_vectors_say(part: str, name: str) -> None:
    case = VECTORS[part][name]
    answers = ANSWERS[part](*case["arguments"])
    assert len(answers) == len(case["answers"])
    for number, (got, wanted) in enumerate(zip(answers, case["answers"], strict=True)):
        assert same(got, wanted, TOLERANCES.get(part, 1e-6)), (number, got, wanted)


def test_the_vectors_have_all_that_is_written_into_them() -> None:
    """Where this fails, run tests/playout_vectors.py."""
    assert {(part, name) for part, cases in arguments().items() for name in cases} == set(CASES)


@pytest.mark.skipif(NODE is None, reason="Node is not here")
@pytest.mark.skipif(not PAGE.exists(), reason="the page has not been built: see web/build.mjs")
def test_the_page_answers_as_the_vectors_say() -> None:
    assert NODE is not None
    replayed = subprocess.run(
        [NODE, str(TESTS / "playout_vectors.mjs"), str(PAGE), str(FILE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert replayed.returncode == 0, replayed.stdout[-4_000:] + replayed.stderr
    counts = json.loads(replayed.stdout)
    assert counts == {
        part: sum(len(case["answers"]) for case in cases.values())
        for part, cases in VECTORS.items()
    }
