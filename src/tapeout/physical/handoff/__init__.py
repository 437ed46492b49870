"""The package for an implementation partner: what is in it, and its check from its files alone.

handoff("tiny", "tiny.handoff")       # made aside, then renamed: whole or not at all
check(Path("tiny.handoff"))           # check.py: a Report
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tapeout.chip.spec import ChipSpec


def handoff(
    chip: ChipSpec | str | Path, out: str | Path, say: Callable[[str], None] = lambda words: None
) -> list[str]:
    """Write the package of `chip` (a spec, a preset's name or a chip.toml) to the folder `out`; its files.

    Raises InputError for a chip that cannot be laid out or built or a folder with other files, MissingDependency
    without the `rtl` and `silicon` extras, DoesNotHold if lint finds an error. Warnings and proofs that do not hold
    are told in its LIMITS.md.
    """
    from tapeout.chip.toml import load
    from tapeout.errors import MissingDependency
    from tapeout.physical.handoff.staging import check_target, write_folder

    spec = chip if isinstance(chip, ChipSpec) else load(chip)
    folder = Path(out)
    check_target(folder)
    try:
        import amaranth  # noqa: F401
        import pyosys  # noqa: F401
    except ImportError:
        raise MissingDependency("a handoff package", "rtl") from None
    from tapeout.physical.handoff.package import package

    files = package(spec, spec.name if isinstance(chip, ChipSpec) else chip, say)
    write_folder(folder, files)
    return sorted(files)


__all__ = ["handoff"]
