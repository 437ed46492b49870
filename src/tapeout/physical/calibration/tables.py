"""What is committed: every synthesised configuration as CSV, the fitted coefficients as a table of quantities."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from importlib import resources
from pathlib import Path

from tapeout.errors import InputError, Phrase
from tapeout.physical.calibration.fit import BlockFit
from tapeout.physical.calibration.measure import Measured

SYNTHESIS = "synthesis.csv"
AREA = "area.toml"
MATRIX_BLOCKS = ("dot_unit", "weight_column", "activation_row", "accumulator_file", "matrix_engine")
_NUMBERS = {"area_um2", "period_ns", "target_ns"}
_COUNTS = {"cells", "flip_flops"}


def shipped_rows() -> list[Measured]:
    """The committed configurations, all libraries."""
    with resources.as_file(resources.files("tapeout.physical.tables") / SYNTHESIS) as path:
        return read_rows(path)


def read_rows(path: Path) -> list[Measured]:
    """The configurations of a CSV. Raises InputError where it is not one."""
    names = [f.name for f in fields(Measured)]
    with open(path, newline="") as f:
        lines = list(csv.reader(f))
    if not lines or lines[0] != names:
        raise InputError(path, "header", Phrase(",".join(lines[0]) if lines else "nothing"), ",".join(names))
    found = []
    for number, line in enumerate(lines[1:], 2):
        try:
            given = {
                n: float(v) if n in _NUMBERS else int(v) if n in _COUNTS else v
                for n, v in zip(names, line, strict=True)
            }
        except ValueError as e:
            raise InputError(path, f"line {number}", Phrase(e), f"{len(names)} fields") from None
        found.append(Measured(**given))  # type: ignore[arg-type]
    return found


def write_rows(path: Path, rows: Iterable[Measured]) -> None:
    """Write configurations as CSV."""
    with open(path, "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow([x.name for x in fields(Measured)])
        for r in rows:
            out.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in astuple(r)])


def area_toml(fits: dict[str, BlockFit], library: str) -> str:
    """The coefficients as a table of quantities. Terms that a fit leaves at 0 stay, as 0."""
    lines = [
        f"# Cell area of blocks, fitted to synthesis in {library.upper()} ({SYNTHESIS}); terms: physical/terms.py.",
        "# Written by `python -m tapeout.physical.calibration`.",
    ]
    for block, fit in fits.items():
        lines += ["", f"[{block}]"]
        source = f"Yosys and ABC, {library.upper()} RVT 0.70 V typical, no wires: chip/rtl, {_fitted(fit)}"
        for name, value in fit.coefficients.items():
            lines.append(
                f'{name} = {{ value = {value:.5g}, unit = "um2", confidence = "high", origin = "synthesised", '
                f'source = "{source}" }}'
            )
    lines += ["", "[period]"]
    for name, matrix in (("matrix", True), ("others", False)):
        among = [f for b, f in fits.items() if (b in MATRIX_BLOCKS) == matrix]
        slowest = max(among, key=lambda f: f.median_ns)
        lines.append(
            f'{name} = {{ value = {slowest.median_ns:.4g}, unit = "ns", confidence = "high", origin = "synthesised", '
            f'source = "{slowest.block}, register to register, median configuration, {library.upper()} RVT '
            '0.70 V typical, no wires" }'
        )
    return "\n".join(lines) + "\n"


def _fitted(fit: BlockFit) -> str:
    if fit.configurations == 1:
        return "one configuration"
    worst = max(abs(fit.errors))
    return f"fit to {fit.configurations} configurations, within {100 * worst:.1f} %"


def summary(fits: Sequence[BlockFit]) -> str:
    """The fits as a Markdown table: block, configurations, errors, slowest delay."""
    lines = [
        "| block | configurations | largest error | median left out | largest left out | delay, ns |",
        "|---|---|---|---|---|---|",
    ]
    for f in fits:
        left = sorted(abs(f.left_out))
        cells = [
            f.block.replace("_", " "),
            str(f.configurations),
            f"{100 * max(abs(f.errors)):.1f} %" if f.configurations > 1 else "–",
            f"{100 * left[len(left) // 2]:.1f} %" if left else "–",
            f"{100 * left[-1]:.1f} %" if left else "–",
            f"{f.median_ns:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
