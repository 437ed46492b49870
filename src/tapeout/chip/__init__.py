"""What is designed: `spec` (the whole chip in one declaration), `presets/`, `isa/` and `rtl/`.

`load("flagship")` or `load("chip.toml")` gives a ChipSpec; `available()` names the presets; `designs` holds
many chips as arrays.
"""

from tapeout.chip.spec import ChipSpec, validate
from tapeout.chip.toml import available, from_toml, load, to_toml

__all__ = ["ChipSpec", "available", "from_toml", "load", "to_toml", "validate"]
