"""The listening test of the samples page: a page close to MUSHRA (ITU-R BS.1534) and a manifest
that tells it which trials and conditions there are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

FORMAT = 1  # of the manifest; the page refuses another
MANIFEST, PAGE = "listen.json", "listen.html"
SOURCE = Path(__file__).parent / PAGE


@dataclasses.dataclass(frozen=True)
class Condition:
    """kind: reference (hidden among the others), anchor (low-pass) or codec. kbps: of the payload,
    measured on the clip; None where there is none.
    """

    name: str
    kind: str
    file: str
    kbps: float | None = None


@dataclasses.dataclass(frozen=True)
class Trial:
    """Conditions of one clip; `reference` is the file that listeners know to be the original."""

    name: str
    clip: str
    reference: str
    conditions: tuple[Condition, ...]


def write_page(out: Path, trials: list[Trial], licence: str) -> None:
    """The page and its manifest, beside the files of `trials`, which are in `out` already."""
    manifest = {
        "format": FORMAT,
        "version": version_of(out / c.file for trial in trials for c in trial.conditions),
        "licence": licence,
        "trials": [dataclasses.asdict(trial) for trial in trials],
    }
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    shutil.copyfile(SOURCE, out / PAGE)


def version_of(files: Iterable[Path]) -> str:
    """Twelve digits that change with any of the files: results name the samples they are about."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
