"""Small parts of the page, in Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("page_parts.mjs")
CORE = Path(__file__).parents[1] / "server" / "streamcodec_server" / "page" / "core.js"


def test_parts_of_the_page_do_what_they_say() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node: apt install nodejs")
    done = subprocess.run([node, HARNESS, CORE], capture_output=True, text=True)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert len(found) == 17
    assert found == dict.fromkeys(found)
