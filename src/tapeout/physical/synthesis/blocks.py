"""The blocks of a chip's core, by name, through synthesis.

    python -m tapeout.physical.synthesis.blocks --lib asap7 --block dot_unit

prints the figures and the worst paths of one block; it is what one runs while writing the block.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from tapeout.chip import load, rtl
from tapeout.chip.rtl.block import Block
from tapeout.chip.rtl.core_package import blocks as tops_of
from tapeout.chip.spec import ChipSpec
from tapeout.errors import InputError, Phrase, TapeoutError
from tapeout.physical.synthesis import flow
from tapeout.physical.synthesis.timing import KINDS
from tapeout.physical.synthesis.token import TokenEnergy


def tree(top: Block) -> list[Block]:
    """`top` and all it places, each distinct module once, the deepest first."""
    found: dict[str, Block] = {}

    def visit(block: Block) -> None:
        if block.module_name not in found:
            for child in block.placed():
                visit(child)
            found.setdefault(block.module_name, block)

    visit(top)
    return list(found.values())


def file_of(block: Block) -> str:
    """The name of the file of a block, which is how people call it."""
    return type(block).__module__.rsplit(".", 1)[-1]


def name_of(block: Block) -> str:
    """The file's name if the class is the file's main one, else the class in lower case."""
    file = file_of(block)
    plain = "".join(p.capitalize() for p in file.split("_"))
    own = type(block).__name__
    if own == plain or own.lower() == plain.lower():
        return file
    return "".join("_" + c.lower() if c.isupper() else c for c in own).lstrip("_")


def core_blocks(spec: ChipSpec, where: object) -> dict[str, Block]:
    """Distinct blocks of a chip's core by module name, the core last."""
    found: dict[str, Block] = {}
    tops = tops_of(spec, where)
    for name in sorted(tops, key=lambda n: n == "core"):
        found |= {b.module_name: b for b in tree(tops[name])}
    return found


def choose(spec: ChipSpec, where: object, names: Iterable[str]) -> list[Block]:
    """The blocks called so (by file, class or module) in the core, or of that file with its default parameters.

    Raises InputError for a name that is none.
    """
    of_core = core_blocks(spec, where)
    chosen: list[Block] = []
    for name in names:
        hits = [b for m, b in of_core.items() if name in (m, name_of(b))]
        hits = hits or [b for b in of_core.values() if file_of(b) == name]
        if not hits:
            hits = [_default(name)] if _default(name) else []  # type: ignore[list-item]
        if not hits:
            known = sorted({name_of(b) for b in of_core.values()})
            raise InputError("--block", "", Phrase(name), f"one of {', '.join(known)}")
        chosen += hits
    return chosen


def _default(name: str) -> Block | None:
    if name not in {m.name for m in pkgutil.iter_modules(rtl.__path__)}:
        return None
    module = importlib.import_module(f"tapeout.chip.rtl.{name}")
    for one in vars(module).values():
        if isinstance(one, type) and issubclass(one, Block) and one.__module__ == module.__name__:
            try:
                block = one()
            except TypeError:
                continue  # it has parameters without defaults
            if name_of(block) == name:
                return block
    return None


SMALL = ("fifo", "skid", "arbiter", "fall_through", "secded_encode", "secded_decode", "fp32_add_open")
HEADING = f"{'block':34} {'um2':>10} {'cells':>8} {'flops':>7} {'ns':>7} {'GHz':>6}  path between registers"


def table(spec: ChipSpec, where: object) -> list[Block]:
    """What a table of a core has a line for: each distinct block that is not small change, the core last."""
    return [b for m, b in core_blocks(spec, where).items() if name_of(b) not in SMALL and m not in SMALL]


def line(row: Mapping[str, Any]) -> str:
    """A line of the table, of what `SynthesisResult.to_json` has."""
    path = row["paths"].get(KINDS[0])
    clock = f"{row['max_clock_ghz']:6.2f}" if row["max_clock_ghz"] else f"{'':6}"
    way = f"{path['start']} -> {path['end']}" if path else "no path between registers"
    energies = "".join(
        f"\n{'':34}   {e['operation']}: {e['pj']:.3g} pJ {e['per']} ({e['low_pj']:.3g} to {e['high_pj']:.3g}; "
        f"counted {e['counted_pj']:.3g})"
        + (f", {e['vectors']:,} answers equal to the twin's" if e["vectors"] else "")
        for e in row.get("energy", ())
    )
    return (
        f"{row['top'][:34]:34} {row['area_um2']:10,.0f} {row['cells']:8,} {row['flip_flops']:7,} "
        f"{row['critical_path_ns']:7.3f} {clock}  {way}{energies}"
    )


def token_line(spent: TokenEnergy) -> str:
    """One line on a token of the demo."""
    parts = ", ".join(f"{k} {v / 1e3:.1f}" for k, v in spent.pj.items())
    return (
        f"a token of the demo at {spent.context} tokens: {spent.total_pj / 1e3:.0f} nJ "
        f"({spent.low_pj / 1e3:.0f} to {spent.high_pj / 1e3:.0f}) in these blocks: {parts} nJ"
    )


def report(result: flow.SynthesisResult, most: int = 3) -> str:
    """The figures of a block and its worst paths, in lines."""
    lines = [
        f"{result.top}  ({result.library}, {result.wire_ff_per_fanout:.2f} fF of wire per fanout)",
        f"  area {result.area_um2:,.0f} um2 ({result.sequential_um2 / max(result.area_um2, 1e-9):.0%} registers), "
        f"{result.cells:,} cells, {result.flip_flops:,} flip-flops",
    ]
    if result.macro_bits:
        lines.append(f"  memory macros {result.macro_um2:,.0f} um2, {result.macro_bits / 8192:,.1f} KiB")
    for kind in KINDS:
        for k, path in enumerate(result.timing.worst_endpoints(kind, most if kind == KINDS[0] else 1)):
            lines.append(
                f"  {kind if not k else '':18} {path.period_ps / 1000:7.3f} ns  {path.start} -> {path.end}"
                f"  ({len(path.steps)} cells)"
            )
    lines.append(f"  hold slack {result.hold_slack_ns:.3f} ns (ideal clock)")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tapeout.physical.synthesis.blocks", description=__doc__)
    parser.add_argument("--chip", default="tiny", help="a preset's name or a chip.toml")
    parser.add_argument("--lib", default="asap7", help="asap7, gt2n, sky130, or a Liberty file")
    parser.add_argument("--block", action="append", required=True, help="may be given several times")
    parser.add_argument("--target", type=float, help="ns; the first script that meets it is taken")
    parser.add_argument("--wire", default="none", help="none, estimate, or fF per fanout")
    parser.add_argument("--path", action="store_true", help="print the cells of the worst path")
    given = parser.parse_args(arguments)
    try:
        for block in choose(load(given.chip), given.chip, given.block):
            result = flow.synthesise(block, given.lib, target_ns=given.target, wire=given.wire)
            print(report(result), flush=True)
            if given.path and (path := result.timing.worst()):
                for s in path.steps:
                    at = f"{s.arrival_ps:8.1f} ps {s.edge:4} {s.slew_ps:6.1f} ps {s.load_ff:6.1f} fF"
                    print(f"    {at}  {s.cell}  {s.net}")
    except TapeoutError as e:
        print(f"tapeout: {e}", file=sys.stderr)
        return e.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
