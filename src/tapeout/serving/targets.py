"""What a name on the command line runs on: one of our chips, or an accelerator of the catalog."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tapeout.chip import toml as chips
from tapeout.errors import InputError
from tapeout.estimate import accelerators
from tapeout.estimate.engines import engine
from tapeout.estimate.parameters import Parameters
from tapeout.files import read_toml
from tapeout.model.architecture import Model
from tapeout.serving.deploy import Target
from tapeout.workload.parallelism import Parallelism

DEFAULT_ENGINE = "vllm-async"  # what most off-the-shelf accelerators are served with today


def target_maker(model: Model, target: str | Path) -> Callable[[Parallelism], Target]:
    """A function that puts `model` on `target`, split as it is told.

    target: the name of a shipped chip or of an accelerator, a chip.toml, or an accelerator's TOML (told apart by
    its `peak` table). Raises InputError naming what is near.
    """
    name = str(target)
    is_file = name.endswith(".toml")
    if name in chips.available() or (is_file and "peak" not in read_toml(Path(name))):
        spec = chips.load(target)
        return lambda split: Target.chip(model, spec, split)
    try:
        sheet = accelerators.accelerator(target)
    except InputError as e:
        if is_file:
            raise
        shipped = ", ".join(chips.available())
        raise InputError("target", "", name, f"a chip ({shipped}, or a chip.toml) or {e.expected}") from None
    parameters = Parameters.priors()
    machine = accelerators.machine(sheet, parameters, engine(DEFAULT_ENGINE, parameters))
    return lambda split: Target.accelerator(model, machine, split)
