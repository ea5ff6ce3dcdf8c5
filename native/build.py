"""Compiles native/src into one library: `python native/build.py [--target TRIPLE] [--out FILE]`.
With --program FILE.c that becomes a program instead (native/check/run.c compares machines).

Each instruction set compiles variant.c anew; which of them runs is chosen when a model is opened.
The compiler is $CC, else the system's cc, gcc or clang, else the wheel `ziglang`, which also
compiles for other systems. Needs nothing but the standard library: the build hook of the wheel runs
it.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent / "src"
PACKAGE = Path(__file__).parents[1] / "streamcodec" / "native"
# What needs no vectors, compiled once.
COMMON = (
    *("model", "variants", "bitstream", "waveform_coder", "waveform_prior", "payload"),
    *("tables", "joint", "fan_out", "high_band_open"),
)
# Of these the bitstream compares losses as the Python one does: sums and products round alike.
COMMON_FLAGS = ("-ffp-contract=off",)
FLAGS = (
    *("-std=c11", "-O3", "-fvisibility=hidden", "-ffp-contract=fast", "-fno-math-errno"),
    *("-Wall", "-Wextra", "-Wno-psabi", "-Werror=implicit-function-declaration"),
)
AVX2 = ("-mavx2", "-mfma", "-mf16c")
VNNI = (*AVX2, *(f"-mavx512{part}" for part in ("f", "bw", "vl", "dq", "vnni")))
# Instruction sets of each architecture, with their flags. `scalar` is what the others are tested
# against.
VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {"vnni": VNNI, "avx2": AVX2, "sse4": ("-msse4.1",)},
    "aarch64": {"neon": ()},
    "wasm32": {"simd128": ("-msimd128",)},
}
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g")


class NoCompiler(Exception):
    """There is nothing to compile with."""


@dataclasses.dataclass(frozen=True)
class Target:
    """What is built for. triple: as Zig names it, None for this machine."""

    architecture: str
    system: str
    triple: str | None = None

    @classmethod
    def of(cls, triple: str | None) -> Target:
        if triple is None:
            names = {"amd64": "x86_64", "arm64": "aarch64"}
            machine = platform.machine().lower()
            return cls(names.get(machine, machine), sys.platform)
        architecture, system = triple.split("-")[:2]
        system = system.partition(".")[0]  # of `macos.11.0`: without the oldest version
        systems = {"macos": "darwin", "windows": "win32"}
        return cls(architecture, systems.get(system, system), triple)

    @property
    def file_name(self) -> str:
        names = {
            "darwin": "libstreamcodec.dylib",
            "win32": "streamcodec.dll",
            "wasi": "streamcodec.wasm",
        }
        return names.get(self.system, "libstreamcodec.so")


def compiler(target: Target) -> list[str]:
    """The command to compile with. Raises NoCompiler."""
    if target.triple is None:
        if asked := os.environ.get("CC"):
            return shlex.split(asked)
        for name in ("cc", "gcc", "clang"):
            if found := shutil.which(name):
                return [found]
    if importlib.util.find_spec("ziglang") is not None:
        aim = [] if target.triple is None else ["-target", target.triple]
        return [sys.executable, "-m", "ziglang", "cc", *aim]
    raise NoCompiler(
        "no C compiler: install one (on Debian and Ubuntu, apt install gcc), or pip install ziglang"
    )


def build(
    target: Target,
    out: Path,
    extra: tuple[str, ...] = (),
    program: Path | None = None,
    only: str | None = None,
) -> Path:
    """Compile and link into `out`: a library, or a program where the source of its `main` is given.
    only: the one instruction set that it is built for; None: all of the architecture.

    Raises NoCompiler, subprocess.CalledProcessError.
    """
    command = compiler(target)
    variants = {**VARIANTS.get(target.architecture, {}), "scalar": ("-DSC_SCALAR",)}
    if only is not None:
        variants = {only: variants[only]}
    has = [f"-DSC_HAS_{name.upper()}" for name in variants]
    flags = [*FLAGS, *(() if target.system in ("win32", "wasi") else ("-fPIC",)), *extra]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor() as pool:
        jobs = {
            Path(scratch, f"{name}.o"): [*flags, *options, f"-DSC_VARIANT={name}", "variant.c"]
            for name, options in variants.items()
        }
        jobs |= {
            Path(scratch, f"{name}.o"): [*flags, *COMMON_FLAGS, *has, f"{name}.c"]
            for name in COMMON
        }
        if program is not None:
            jobs[Path(scratch, "program.o")] = [*flags, str(program.resolve())]
        compiled = [
            pool.submit(_run, [*command, *options, "-c", "-o", str(object_file)])
            for object_file, options in jobs.items()
        ]
        for job in compiled:
            job.result()
        linked = Path(scratch, target.file_name)
        _run(
            [
                *command,
                *(_link_flags(target) if program is None else ()),
                *extra,
                *map(str, jobs),
                "-o",
                str(linked),
                *_libraries(target),
            ]
        )
        partial = out.with_name(out.name + ".partial")  # a program may be using the old one
        shutil.copyfile(linked, partial)
        if program is not None:
            partial.chmod(0o755)
        partial.replace(out)
    return out


def _link_flags(target: Target) -> list[str]:
    if target.system == "wasi":
        memory = [f"-Wl,--export={name}" for name in ("malloc", "aligned_alloc", "free")]
        return ["-mexec-model=reactor", "-Wl,--export-dynamic", "-Wl,--strip-all", *memory]
    if target.system == "linux":
        return ["-shared", "-s", "-Wl,-z,defs"]
    return ["-shared", *(["-s"] if target.system == "win32" else [])]


def _libraries(target: Target) -> list[str]:
    return [] if target.system == "win32" else ["-lm"]


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, cwd=SOURCES)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compile the native engine.")
    parser.add_argument("--target", help="as Zig names it, for example aarch64-linux-gnu.2.28")
    parser.add_argument("--out", type=Path, help="file to write; else beside streamcodec/native")
    parser.add_argument("--sanitize", action="store_true", help="with address and undefined checks")
    parser.add_argument("--program", type=Path, help="C file with a `main`: a program; needs --out")
    parser.add_argument("--only", metavar="SET", help="only this instruction set, such as simd128")
    asked = parser.parse_args()
    if asked.program is not None and asked.out is None:
        parser.error("--program needs --out")
    target = Target.of(asked.target)
    known = (*VARIANTS.get(target.architecture, ()), "scalar")
    if asked.only not in (None, *known):
        parser.error(f"--only must be one of {', '.join(known)} for {target.architecture}")
    out = asked.out or PACKAGE / target.file_name
    try:
        built = build(target, out, SANITIZERS if asked.sanitize else (), asked.program, asked.only)
    except NoCompiler as error:
        print(f"native/build.py: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"native/build.py: {error.cmd[0]} failed", file=sys.stderr)
        return 1
    print(built)
    return 0


if __name__ == "__main__":
    sys.exit(main())
