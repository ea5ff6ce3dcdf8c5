"""Build hook of the wheel: compiles the native engine, or says why it could not.

STREAMCODEC_TARGET asks for a wheel of a release, for one of the systems in PLATFORMS; `make wheels`
sets it. Such a wheel leaves the model's weights to a distribution of their own
(models/voice-16k/pyproject.toml), so that a relay is small; the extras that code require it. A
wheel that `pip install .` builds carries the weights itself.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_spec = importlib.util.spec_from_file_location("native_build", Path(__file__).parent / "build.py")
assert _spec is not None
assert _spec.loader is not None
native_build = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = native_build  # dataclasses look their module up
_spec.loader.exec_module(native_build)

# What a wheel for each of Zig's targets is called.
PLATFORMS = {
    "x86_64-linux-gnu.2.28": "manylinux_2_28_x86_64",
    "aarch64-linux-gnu.2.28": "manylinux_2_28_aarch64",
    "aarch64-macos.11.0": "macosx_11_0_arm64",
    "x86_64-macos.10.15": "macosx_10_15_x86_64",
    "x86_64-windows-gnu": "win_amd64",
}
WEIGHTS = "streamcodec_models/weights"
EXTRAS_WITHOUT_WEIGHTS = ("relay", "wheels")


class NativeBuildHook(BuildHookInterface[Any]):
    """One library beside streamcodec/native/library.py, without a Python ABI: for any Python."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """A compiler as a wheel, where the system has none."""
        try:
            native_build.compiler(native_build.Target.of(_asked_triple()))
        except native_build.NoCompiler:
            return ["ziglang"]
        return []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile into the tree for an editable install, else into the wheel."""
        if self.target_name != "wheel":
            return
        triple = _asked_triple()
        if triple is not None:
            voice = f"streamcodec-voice-16k=={self.metadata.version}"
            build_data["dependencies"] += [
                f"{voice}; extra == '{extra}'"
                for extra in self.metadata.core.optional_dependencies
                if extra not in EXTRAS_WITHOUT_WEIGHTS
            ]
        elif version != "editable":
            build_data["force_include"][str(Path(self.root, "models", WEIGHTS))] = WEIGHTS
        target = native_build.Target.of(triple)
        inside = f"streamcodec/native/{target.file_name}"
        built = Path(self.root, inside)
        if version != "editable":
            built = Path(self.root, "build", "native", triple or "here", target.file_name)
        try:
            native_build.build(target, built)
        except (native_build.NoCompiler, subprocess.CalledProcessError) as error:
            if triple is not None:
                raise
            self.app.display_warning(f"the native engine is not built: {error}")
            self.app.display_warning("streamcodec will need the torch engine, 40 times as slow")
            return
        if version != "editable":
            build_data["force_include"][str(built)] = inside
        here = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{here if triple is None else PLATFORMS[triple]}"


def _asked_triple() -> str | None:
    """What a release is built for, as Zig names it. Raises ValueError for what has no wheel."""
    triple = os.environ.get("STREAMCODEC_TARGET")
    if triple is not None and triple not in PLATFORMS:
        raise ValueError(
            f"STREAMCODEC_TARGET must be one of {', '.join(PLATFORMS)}, got {triple!r}"
        )
    return triple
