"""A program: code, what lies where in memory, and everything needed to run it and to explain it.

Saved as one safetensors file: code and origins as arrays, the rest as JSON in its metadata, with a digest over all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.isa.assembler import binary
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.spec import ChipSpec
from tapeout.chip.toml import from_toml, to_toml
from tapeout.errors import InputError, Phrase
from tapeout.files import parse_json
from tapeout.model.architecture import Model, Tensor
from tapeout.model.checkpoint.safetensors import SafetensorsFile, write_safetensors
from tapeout.numerics.plan import FormatPlan, Operands
from tapeout.numerics.product import Split
from tapeout.numerics.schedule import Schedule

VERSION = "2"


@dataclass(frozen=True)
class Region:
    """`size` bytes of memory from byte `base`."""

    base: int
    size: int


@dataclass(frozen=True)
class Pack:
    """What lies at `offset` of a region. `kind` says how `tensors` (names of `Model.tensors`) become bytes, with
    `options`; the kinds are those of `compiler.image`."""

    region: str
    offset: int
    kind: str
    tensors: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One way into the program: `tokens` new tokens of one sequence (padded up to that many), or, with `sequences`
    above 1, one token of each of so many sequences. `cycles`: about how long, by the compiler's own count."""

    name: str
    tokens: int
    sequences: int
    cycles: int


@dataclass(frozen=True)
class CacheTensor:
    """Keys or values of one layer in the cache of a sequence, in blocks of 32 along the head dimension.

    The 32 codes of head h, block g, position p lie at `codes` + h·head + g·block + p·position (`code_strides`: head,
    block, position), their scale, a byte, at `scales` likewise (`scale_strides`)."""

    heads: int
    blocks: int
    codes: int
    scales: int
    code_strides: tuple[int, int, int]
    scale_strides: tuple[int, int, int]


@dataclass(frozen=True)
class StateTensor:
    """FP32 numbers [rows, pieces × columns] of one layer's state in a sequence's slot: column c of piece p, row r at
    `at` + p·piece_stride + r·row_stride + 4·c."""

    at: int
    rows: int
    pieces: int
    columns: int
    row_stride: int
    piece_stride: int


@dataclass(frozen=True)
class Operator:
    """What instructions were made for: an operator of a layer; layer None is outside the layers."""

    layer: int | None
    name: str


@dataclass
class Program:
    """A compiled model.

    `code` uint64 [instructions, 2]: the 128-bit words, low half first. `origin` int32 [instructions]: index into
    `operators`. `regions`: the memory map, by name; `memory_bytes` covers it. `recipe`: what the image holds besides
    code. `cache[layer]`: where keys and values lie within a sequence's slot; slot s is at cache base + s·`slot_bytes`.
    `states[layer]`: of linear attention, the last inputs of its convolution (queries, keys, values) and its state.
    `identity`: of the model (`identity`). `context`: positions that a sequence can have; `slots`: sequences at a
    time. `tensors`: those of the checkpoint
    that the recipe takes. `cuts`: no run's new tokens lie on both sides of a multiple of one of these positions.
    """

    model: str
    identity: str
    vocabulary: int
    chip: ChipSpec
    plan: FormatPlan
    schedule: Schedule
    code: NDArray[np.uint64]
    origin: NDArray[np.int32]
    operators: tuple[Operator, ...]
    regions: dict[str, Region]
    recipe: tuple[Pack, ...]
    entries: tuple[Entry, ...]
    cache: tuple[tuple[CacheTensor, ...], ...]
    context: int
    slots: int
    slot_bytes: int
    tensors: tuple[Tensor, ...] = ()
    cuts: tuple[int, ...] = ()
    states: tuple[tuple[StateTensor, ...], ...] = ()
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def geometry(self) -> Geometry:
        """Of the core it was compiled for."""
        return Geometry.of(self.chip.core)

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory that it needs."""
        return max(r.base + r.size for r in self.regions.values())

    @property
    def base(self) -> int:
        """Where the code lies."""
        return self.regions["code"].base

    def words(self) -> list[int]:
        """The instructions as 128-bit integers."""
        return [low | high << 64 for low, high in self.code.tolist()]

    def operator(self, pc: int) -> Operator:
        """What instruction `pc` is for."""
        return self.operators[self.origin[pc]]

    def save(self, path: str | Path) -> None:
        """Write it whole or not at all."""
        about = json.dumps(_header(self), separators=(",", ":"))
        code, origin = np.ascontiguousarray(self.code, "<u8"), np.ascontiguousarray(self.origin, "<i4")
        write_safetensors(
            Path(path),
            {"code": ("U64", code), "origin": ("I32", origin)},
            {"format": "tapeout.program", "version": VERSION, "program": about, "digest": _digest(about, code, origin)},
        )  # fmt: skip

    @staticmethod
    def load(path: str | Path) -> Program:
        """Read it back. Raises InputError for a file that is no program, of another version, or damaged."""
        path = Path(path)
        file = SafetensorsFile(path)
        about = file.metadata
        if about.get("format") != "tapeout.program":
            raise InputError(path, "format", about.get("format", Phrase("nothing")), "tapeout.program")
        if about.get("version") != VERSION:
            raise InputError(
                path, "version", about.get("version", Phrase("nothing")), f"{VERSION}: compile it again"
            )
        if not {"code", "origin"} <= set(file) or "program" not in about:
            raise InputError(path, "", Phrase("a part is missing"), "code, origin and program")
        code, origin = file.tensor("code").copy(), file.tensor("origin").copy()
        if about.get("digest") != _digest(about["program"], code, origin):
            raise InputError(path, "digest", Phrase("another content"), "what was saved: the file is damaged")
        try:
            return _read(parse_json(about["program"], path), code, origin, path)
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise InputError(path, "program", Phrase(f"{type(e).__name__}: {e}"), "a program") from None


def identity(model: Model) -> str:
    """A digest of everything in a model but its name."""
    return hashlib.sha256(repr(replace(model, name="")).encode()).hexdigest()


def memory_of(chip: ChipSpec) -> int:
    """Bytes of a chip's memory."""
    return chip.memory.stacks * chip.memory.gibibytes_per_stack << 30


def as_code(words: list[int]) -> NDArray[np.uint64]:
    """128-bit words as uint64 [n, 2]."""
    return np.frombuffer(binary(words), "<u8").reshape(-1, 2).astype(np.uint64)


def _digest(about: str, *arrays: NDArray[Any]) -> str:
    h = hashlib.sha256(about.encode())
    for a in arrays:
        h.update(np.ascontiguousarray(a).tobytes())
    return h.hexdigest()


def _header(p: Program) -> dict[str, Any]:
    plain = {
        name: getattr(p, name)
        for name in ("model", "identity", "vocabulary", "context", "slots", "slot_bytes", "report")
    }
    return {
        **plain,
        "chip": to_toml(p.chip),
        "plan": {
            "name": p.plan.name, "default": asdict(p.plan.default), "attention": p.plan.attention,
            "cache": p.plan.cache, "roles": {role: asdict(o) for role, o in p.plan.roles.items()},
        },
        "schedule": {
            "tile": p.schedule.tile,
            "splits": {role: [asdict(s) for s in splits] for role, splits in p.schedule.splits.items()},
        },
        "operators": [[o.layer, o.name] for o in p.operators],
        "regions": {name: [r.base, r.size] for name, r in p.regions.items()},
        "recipe": [[x.region, x.offset, x.kind, list(x.tensors), dict(x.options)] for x in p.recipe],
        "entries": [asdict(e) for e in p.entries],
        "cache": [[asdict(x) for x in layer] for layer in p.cache],
        "states": [[asdict(x) for x in layer] for layer in p.states],
        "tensors": [asdict(x) for x in p.tensors],
        "cuts": list(p.cuts),
    }  # fmt: skip


def _read(t: dict[str, Any], code: NDArray[Any], origin: NDArray[Any], path: Path) -> Program:
    plan, schedule = t["plan"], t["schedule"]
    return Program(
        model=t["model"], identity=t["identity"], vocabulary=t["vocabulary"],
        chip=from_toml(t["chip"], path),
        plan=FormatPlan(
            plan["name"], Operands(**plan["default"]), {r: Operands(**o) for r, o in plan["roles"].items()},
            plan["attention"], plan["cache"],
        ),
        schedule=Schedule(
            {r: tuple(Split(**s) for s in splits) for r, splits in schedule["splits"].items()}, schedule["tile"]
        ),
        code=code, origin=origin,
        operators=tuple(Operator(*o) for o in t["operators"]),
        regions={name: Region(*r) for name, r in t["regions"].items()},
        recipe=tuple(Pack(r, at, kind, tuple(names), options) for r, at, kind, names, options in t["recipe"]),
        entries=tuple(Entry(**e) for e in t["entries"]),
        cache=tuple(tuple(_cache(x) for x in layer) for layer in t["cache"]),
        states=tuple(tuple(StateTensor(**x) for x in layer) for layer in t.get("states", ())),
        tensors=tuple(Tensor(**{**x, "shape": tuple(x["shape"])}) for x in t["tensors"]),
        context=t["context"], slots=t["slots"], slot_bytes=t["slot_bytes"], cuts=tuple(t.get("cuts", ())),
        report=t["report"],
    )  # fmt: skip


def _cache(t: dict[str, Any]) -> CacheTensor:
    return CacheTensor(
        **{**t, "code_strides": tuple(t["code_strides"]), "scale_strides": tuple(t["scale_strides"])}
    )
