"""Designs: many chips as a structure of arrays, so that a million of them are one array operation.

One array of shape (n,) for each field of ChipSpec. A choice (node, memory kind, package) is its index in
the tuple that `tapeout.chip.spec` names it by; `formats` is a mask with bit i set for MATRIX_FORMATS[i].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from tapeout.chip.spec import (
    MATRIX_FORMATS,
    MEMORY_KINDS,
    NODES,
    PACKAGES,
    ChipSpec,
    Core,
    Links,
    MatrixEngine,
    MatrixFormat,
    Memory,
    Scratchpad,
)
from tapeout.errors import InputError, Phrase

_CHOICES: dict[str, tuple[str, ...]] = {"node": NODES, "memory_kind": MEMORY_KINDS, "package": PACKAGES}


@dataclass(frozen=True, eq=False)
class Designs:
    """n chips. Integers are int64, `clock_ghz` float64, `name` objects; every array has shape (n,)."""

    name: np.ndarray
    node: np.ndarray  # index in NODES
    clock_ghz: np.ndarray
    cores: np.ndarray  # of the package
    noc_bytes_per_cycle: np.ndarray  # per mesh link and direction
    package: np.ndarray  # index in PACKAGES
    dies: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    lanes: np.ndarray
    formats: np.ndarray  # mask over MATRIX_FORMATS
    double_rate_fp4: np.ndarray  # bool
    vector_lanes: np.ndarray  # of a core
    port_bytes: np.ndarray
    outstanding: np.ndarray
    scratchpad_kibibytes: np.ndarray  # of a core
    scratchpad_banks: np.ndarray
    scratchpad_word_bytes: np.ndarray
    memory_kind: np.ndarray  # index in MEMORY_KINDS
    stacks: np.ndarray
    gibibytes_per_stack: np.ndarray
    scale_up_lanes: np.ndarray
    scale_out_lanes: np.ndarray
    gigabits_per_lane: np.ndarray
    scale_up_domain: np.ndarray

    def __len__(self) -> int:
        return len(self.cores)

    def __getitem__(self, index: slice | np.ndarray | Sequence[int]) -> Designs:
        """The designs of a slice, a mask or an array of indices."""
        return Designs(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @classmethod
    def of(cls, spec: ChipSpec | None = None, **knobs: Any) -> Designs:
        """`spec` with some fields replaced by arrays (or scalars), which broadcast together to one axis.

        Choices are given by name or by index, `formats` as a tuple of names or as masks:

        >>> len(Designs.of(ChipSpec(), cores=np.array([32, 64]), node="N5"))
        2
        """
        given = cls._row(spec or ChipSpec())
        for key, value in knobs.items():
            if key not in given:
                raise InputError("Designs", key, Phrase("an unknown field"), f"one of {', '.join(given)}")
            given[key] = _coded(key, value)
        arrays: dict[str, np.ndarray] = {key: np.asarray(value, _type(key)) for key, value in given.items()}
        shape = np.broadcast_shapes(*(a.shape for a in arrays.values())) or (1,)
        return cls(**{k: np.broadcast_to(a, shape).ravel() for k, a in arrays.items()})

    @classmethod
    def from_specs(cls, specs: Sequence[ChipSpec]) -> Designs:
        """The designs of a sequence of specs, in order."""
        rows = [cls._row(s) for s in specs]
        return cls(**{f.name: np.array([r[f.name] for r in rows], _type(f.name)) for f in fields(cls)})

    @classmethod
    def concatenate(cls, parts: Sequence[Designs]) -> Designs:
        """All designs of `parts`, in order."""
        return cls(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)})

    def spec(self, i: int) -> ChipSpec:
        """The i-th design as a ChipSpec (not validated)."""
        v: dict[str, Any] = {
            f.name: x.item() if isinstance(x := getattr(self, f.name)[i], np.generic) else x
            for f in fields(self)
        }
        formats = tuple(f for bit, f in enumerate(MATRIX_FORMATS) if v["formats"] >> bit & 1)
        return ChipSpec(
            name=v["name"],
            node=NODES[v["node"]],
            clock_ghz=v["clock_ghz"],
            cores=v["cores"],
            core=Core(
                matrix=MatrixEngine(v["rows"], v["columns"], v["lanes"], formats, v["double_rate_fp4"]),
                vector_lanes=v["vector_lanes"],
                scratchpad=Scratchpad(
                    v["scratchpad_kibibytes"], v["scratchpad_banks"], v["scratchpad_word_bytes"]
                ),
                port_bytes=v["port_bytes"],
                outstanding=v["outstanding"],
            ),
            noc_bytes_per_cycle=v["noc_bytes_per_cycle"],
            memory=Memory(MEMORY_KINDS[v["memory_kind"]], v["stacks"], v["gibibytes_per_stack"]),
            links=Links(
                v["scale_up_lanes"], v["scale_out_lanes"], v["gigabits_per_lane"], v["scale_up_domain"]
            ),
            package=PACKAGES[v["package"]],
            dies=v["dies"],
        )

    def has_format(self, weight_format: MatrixFormat) -> np.ndarray:
        """Whether each design multiplies weights of this format; bool (n,)."""
        return (self.formats >> MATRIX_FORMATS.index(weight_format) & 1).astype(bool)

    def macs_per_cycle(self, weight_format: MatrixFormat) -> np.ndarray:
        """Multiply-accumulates per cycle of one core (`MatrixEngine.macs_per_cycle`); int64 (n,)."""
        macs = self.rows * self.columns * self.lanes * self.has_format(weight_format)
        if weight_format == "mxfp4":
            return macs * np.where(self.double_rate_fp4, 2, 1)
        return macs // 4 if weight_format == "bf16" else macs

    @staticmethod
    def _row(s: ChipSpec) -> dict[str, Any]:
        return {
            "name": s.name,
            "node": NODES.index(s.node),
            "clock_ghz": s.clock_ghz,
            "cores": s.cores,
            "noc_bytes_per_cycle": s.noc_bytes_per_cycle,
            "package": PACKAGES.index(s.package),
            "dies": s.dies,
            "rows": s.core.matrix.rows,
            "columns": s.core.matrix.columns,
            "lanes": s.core.matrix.lanes,
            "formats": format_mask(s.core.matrix.formats),
            "double_rate_fp4": s.core.matrix.double_rate_fp4,
            "vector_lanes": s.core.vector_lanes,
            "port_bytes": s.core.port_bytes,
            "outstanding": s.core.outstanding,
            "scratchpad_kibibytes": s.core.scratchpad.kibibytes,
            "scratchpad_banks": s.core.scratchpad.banks,
            "scratchpad_word_bytes": s.core.scratchpad.word_bytes,
            "memory_kind": MEMORY_KINDS.index(s.memory.kind),
            "stacks": s.memory.stacks,
            "gibibytes_per_stack": s.memory.gibibytes_per_stack,
            "scale_up_lanes": s.links.scale_up_lanes,
            "scale_out_lanes": s.links.scale_out_lanes,
            "gigabits_per_lane": s.links.gigabits_per_lane,
            "scale_up_domain": s.links.scale_up_domain,
        }


def format_mask(formats: Sequence[str]) -> int:
    """The mask of a set of matrix formats: bit i for MATRIX_FORMATS[i]."""
    return sum(1 << MATRIX_FORMATS.index(f) for f in set(formats))


def as_designs(chips: Designs | ChipSpec) -> Designs:
    """`chips` as Designs; a single spec becomes one design."""
    return chips if isinstance(chips, Designs) else Designs.from_specs([chips])


def _coded(key: str, value: Any) -> Any:
    """Names of choices as indices, a tuple of formats as its mask."""
    try:
        if key == "formats" and isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
            return format_mask(value)
        if key in _CHOICES and np.asarray(value).dtype.kind in "UO":
            return np.vectorize(_CHOICES[key].index, otypes=[np.int64])(value)
    except ValueError:
        choices = MATRIX_FORMATS if key == "formats" else _CHOICES[key]
        raise InputError("Designs", key, value, f"of {', '.join(choices)}") from None
    return value


def _type(key: str) -> type:
    if key == "name":
        return object
    return float if key == "clock_ghz" else bool if key == "double_rate_fp4" else np.int64
