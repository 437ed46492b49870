"""Random commands of the vector engine: every instruction, every mode, rows of any length."""

from __future__ import annotations

import numpy as np

from tapeout.chip.isa.geometry import BLOCK_BYTES, GRANULE, round_up
from tapeout.chip.isa.registry import instructions
from tapeout.chip.verification.programs.layout import SPECIAL, TABLE_MOST, Range
from tapeout.chip.verification.programs.products import Products
from tapeout.chip.verification.programs.tree import Command, Touch

NAMES = tuple(sorted(n for n in instructions() if n.startswith("v")))
MOST_K = 64
CONSTANTS = ("vadd", "vsub", "vmul", "vmaximum", "vminimum", "vcompare")
IN_PLACE_OF_B = ("vtake", "vselect")


class Vectors(Products):
    """Vector instructions, by name."""

    def vector(self, name: str) -> Command:
        """Operands that do not overlap what is written, unless in its very place."""
        at = self.at
        rows, n = (
            self.pick(0, 1, 1, 2, 3, 5),
            self.pick(0, 1, 8, 32, 64, self.between(0, 90), self.between(0, 90)),
        )
        fields: dict[str, int] = {}
        operands: dict[str, int] = {}
        a, b, out = 4 * n, 4 * n, 4 * n  # bytes of a row
        areas = {"a": at.floats, "b": at.floats, "out": at.floats}
        writes_b = False
        if name in CONSTANTS:
            fields |= {"imm": self._bits(), "from": self.between(0, 2)}
            b = (b, 4, 0)[fields["from"]]
            if name == "vcompare":
                fields["if"] = self.between(0, 2)
        elif name == "vwindow":
            fields |= {"imm": self._bits(), "per": self.pick(1, 1, 2, 3, 40)}
            for bound in ("low", "high"):
                far = self.between(-(1 << 47), (1 << 47) - 1)
                operands[bound] = self.pick(self.between(-9, n + 9), far)
        elif name in ("vtotal", "vgreatest"):
            out = 4
        elif name == "vrope":
            half = self.pick(*range(0, n // 2 + 1, 8))
            operands["half"] = half
            fields["interleaved"] = self.between(0, 1)
            b = 8 * half
        elif name in ("vquantise", "vdequantise"):
            fields["format"] = self.between(0, 1)
            codes = round_up(n, 32) // (1 if fields["format"] else 2)
            b = round_up(n, 32) // 32
            a, out = (codes, out) if name == "vdequantise" else (a, codes)
            areas |= {"a" if name == "vdequantise" else "out": at.codes, "b": at.scales}
            writes_b = name == "vquantise"
        elif name == "vconvert":
            fields["kind"] = self.between(0, 2)
            a, out = ((2 * n, 4 * n), (4 * n, 2 * n), (n, 4 * n))[fields["kind"]]
            if fields["kind"] == 2:
                areas["a"] = at.scales
        elif name == "vtopk":
            n = max(n, 1)
            k = self.between(1, min(n, MOST_K)) if self.chance(0.7) else min(n, 8)
            fields["k"], a, out = k, 4 * n, 4 * k
            if n <= TABLE_MOST and self.chance(0.6):
                areas["out"] = at.tables  # for gathers
        elif name == "vtake":
            a = 4 * TABLE_MOST
            areas["b"] = at.tables
        operands |= {"n": n, "rows": rows}
        touched: dict[str, Range] = {}
        sizes = {"a": a, "b": b, "out": out}
        if "b" not in {s.name for s in instructions()[name].slots}:
            sizes.pop("b")
        if name == "vselect":
            sizes["out"] = out
        in_place = self._same(name) if n and rows else ""
        for x in sorted(sizes, key=lambda x: (x == "out" and bool(in_place), x != "out")):
            if x == "out" and in_place:
                operands |= {"out": operands[in_place], "so": operands["s" + in_place]}
                touched["out"] = touched[in_place]
                continue
            taken = [
                r for y, r in touched.items() if in_place or "out" in (x, y) or (writes_b and "b" in (x, y))
            ]
            repeats = x == "a" or (x == "b" and not writes_b)
            found = self._rows(areas[x], sizes[x], rows, taken, repeats, bool(in_place))
            if found is None:
                return self.vector(name)
            operands[x], operands["s" + x[0]], touched[x] = found
        if fields.get("from") == 2:
            operands["b"] = self.between(0, 1 << 40)  # not looked at
            touched.pop("b", None)
        used = [
            Touch("pad", *r, x == "out" or (x == "b" and writes_b)) for x, r in touched.items() if r[1] > r[0]
        ]
        if name == "vselect" and "out" in touched:
            used.append(Touch("pad", *touched["out"], False))
        return Command(name, operands, fields, tuple(used), self.chance(0.7))

    def _bits(self) -> int:
        """FP32 of any kind."""
        return int(self.rng.choice(SPECIAL)) if self.chance(0.3) else self.between(0, (1 << 32) - 1)

    def _same(self, name: str) -> str:
        """The operand in whose very place the result goes; mostly none."""
        if name in ("vtopk", "vtotal", "vgreatest", "vquantise", "vdequantise", "vconvert") or self.chance(
            0.7
        ):
            return ""
        if name in IN_PLACE_OF_B:
            return "b" if name == "vselect" else ""
        return "a"

    def _rows(
        self, area: Range, size: int, rows: int, taken: list[Range], repeats: bool, apart: bool
    ) -> tuple[int, int, Range] | None:
        """(address, stride, range in use) beside what is taken; None if there was no such place."""
        kept = round_up(size, GRANULE)
        for _ in range(60):
            stride = round_up(size, BLOCK_BYTES) + BLOCK_BYTES * self.between(0, 2)
            if repeats and not apart and self.chance(0.2):
                stride = 0
            span = max(rows - 1, 0) * stride + kept if rows else 0
            if span > area[1] - area[0]:
                rows_fit = (area[1] - area[0] - kept) // max(stride, 1)
                if rows_fit < rows - 1:
                    return None
            low = self.between(-(-area[0] // BLOCK_BYTES), (area[1] - span) // BLOCK_BYTES) * BLOCK_BYTES
            if low + span > area[1] or any(low < r[1] and r[0] < low + span for r in taken):
                continue
            if rows > 1 and stride and self.chance(0.15):  # from the last row down
                return low + (rows - 1) * stride, -stride, (low, low + span)
            return low, stride, (low, low + span)
        return None


def random_kind(rng: np.random.Generator) -> str:
    """A vector instruction's name."""
    return str(rng.choice(NAMES))
