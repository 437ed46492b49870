"""What a name on the command line runs on: one of our chips, or an accelerator of the catalog."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tapeout.chip import toml as chips
from tapeout.chip.spec import ChipSpec
from tapeout.errors import InputError
from tapeout.estimate import accelerators
from tapeout.estimate.accelerators import Accelerator
from tapeout.files import read_toml
from tapeout.model.architecture import Model
from tapeout.serving.deploy import Target
from tapeout.workload.parallelism import Parallelism


@dataclass(frozen=True)
class TargetMaker:
    """Puts `model` on groups of `device`, split as it is told. Picklable, so that processes can share work."""

    model: Model
    device: ChipSpec | Accelerator

    def __call__(self, split: Parallelism) -> Target:
        """The target of one replica. Raises InputError if the model cannot be split so."""
        if isinstance(self.device, ChipSpec):
            return Target.chip(self.model, self.device, split)
        return Target.accelerator(self.model, self.device, split)


def target_maker(model: Model, target: str | Path) -> TargetMaker:
    """`model` on `target`: the name of a shipped chip or of an accelerator, a chip.toml, or an accelerator's TOML
    (told apart by its `peak` table). Raises InputError naming what is near."""
    name = str(target)
    is_file = name.endswith(".toml")
    if name in chips.available() or (is_file and "peak" not in read_toml(Path(name))):
        return TargetMaker(model, chips.load(target))
    try:
        return TargetMaker(model, accelerators.accelerator(target))
    except InputError as e:
        if is_file:
            raise
        shipped = ", ".join(chips.available())
        raise InputError("target", "", name, f"a chip ({shipped}, or a chip.toml) or {e.expected}") from None
