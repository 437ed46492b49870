"""`python -m tapeout.physical.calibration --lib asap7.lib`: synthesise, fit, write the tables."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tapeout.errors import TapeoutError
from tapeout.physical.calibration.configurations import compared, configurations
from tapeout.physical.calibration.energies import ENERGY, energy_toml, measure_energies
from tapeout.physical.calibration.fit import fit_blocks, overall
from tapeout.physical.calibration.measure import Measured, measure
from tapeout.physical.calibration.tables import AREA, SYNTHESIS, area_toml, summary, write_rows
from tapeout.physical.synthesis.pdk import find

BASIS = "asap7"


def main(arguments: list[str] | None = None) -> int:
    """Run it; the exit code."""
    p = argparse.ArgumentParser(prog="python -m tapeout.physical.calibration", description=__doc__)
    p.add_argument(
        "--lib", type=Path, required=True, help="Liberty file of ASAP7 RVT, typical; gzipped or not"
    )
    p.add_argument("--compare", type=Path, action="append", default=[], metavar="NAME=LIB",
                   help="another library, in which a few configurations are synthesised for comparison")  # fmt: skip
    p.add_argument("--cache", type=Path, default=Path("calibration.cache"), help="folder of finished results")
    p.add_argument("--kept", action="store_true", help="only what the cache holds; synthesise nothing")
    p.add_argument("--energy", action="store_true", help="energy per operation too: minutes")
    p.add_argument(
        "--out", type=Path, default=Path(__file__).parents[1] / "tables", help="folder of the tables"
    )
    given = p.parse_args(arguments)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        fresh = not given.kept
        rows: list[Measured] = measure(configurations(), given.lib, BASIS, given.cache, say, fresh)
        for pair in given.compare:
            name, _, path = str(pair).partition("=")
            rows += measure(compared(name), Path(path), name, given.cache, say, fresh)
        if given.energy:
            found = measure_energies(find(given.lib), say)
            (given.out / ENERGY).write_text(energy_toml(found, BASIS))
    except TapeoutError as e:
        say(str(e))
        return 2
    fits = fit_blocks([r for r in rows if r.library == BASIS])
    write_rows(given.out / SYNTHESIS, rows)
    (given.out / AREA).write_text(area_toml(fits, BASIS))
    print(summary(list(fits.values())))
    print({k: round(v, 4) for k, v in overall(fits).items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
