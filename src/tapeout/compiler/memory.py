"""Where everything lies in memory: weights in the order and the shape in which products read them, vectors, tables.

A product's weights are cut into chunks, one for each `matmul` command (or part of its contraction): codes, then
scales, so that a chunk is one run of bytes. `Memory` hands out places and writes down in the recipe what belongs there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tapeout.chip.isa.geometry import BLOCK_BYTES, Geometry, round_up
from tapeout.compiler.ir import Mem
from tapeout.compiler.program import Pack, Region
from tapeout.errors import InputError, Phrase
from tapeout.model.architecture import Model, Tensor
from tapeout.model.rope import Rope
from tapeout.numerics.formats import BLOCK, FORMATS
from tapeout.numerics.plan import FormatPlan

ALIGN = 64


@dataclass(frozen=True)
class Chunk:
    """Weights of one command, or of a part of its contraction: `outputs` from output `first`, `steps` blocks of the
    contraction from block `block`. `offset`: bytes from the start of the matrix; scales lie `scales` bytes after it."""

    first: int
    outputs: int
    tiles: int
    block: int
    steps: int
    offset: int
    scales: int
    bytes: int


@dataclass(frozen=True)
class Matrix:
    """Weights [n, k] at `base` as chunks, those of one command after another."""

    base: Mem
    n: int
    k: int
    format: str
    commands: tuple[tuple[Chunk, ...], ...]
    bytes: int


def chunks(g: Geometry, n: int, k: int, format: str, tiles: int, steps: int) -> tuple[tuple[Chunk, ...], ...]:
    """Commands of `tiles` tiles, their contraction in parts of `steps` blocks."""
    commands, offset = [], 0
    blocks, wide = -(-k // BLOCK), g.outputs(format)
    unit = max(g.beat_bytes(format), ALIGN)
    for first in range(0, n, tiles * wide):
        outputs = min(tiles * wide, n - first)
        used = -(-outputs // wide)
        parts = []
        for block in range(0, blocks, steps):
            s = min(steps, blocks - block)
            codes = s * used * g.beat_bytes(format)
            size = round_up(codes + round_up(s * used * g.scale_bytes(format), BLOCK_BYTES), unit)
            parts.append(Chunk(first, outputs, used, block, s, offset, codes, size))
            offset += size
        commands.append(tuple(parts))
    return tuple(commands)


@dataclass
class Memory:
    """Regions as they grow. `tiles`, `chunk_bytes`: how products are cut (`compiler.tile` chooses)."""

    model: Model
    plan: FormatPlan
    geometry: Geometry
    tiles: int
    chunk_bytes: int
    sizes: dict[str, int] = field(default_factory=dict)
    recipe: list[Pack] = field(default_factory=list)
    used: dict[str, Tensor] = field(default_factory=dict)
    _known: dict[Any, Any] = field(default_factory=dict)

    def room(self, region: str, size: int, align: int = ALIGN) -> Mem:
        """`size` more bytes of a region."""
        at = round_up(self.sizes.get(region, 0), align)
        self.sizes[region] = at + size
        return Mem(region, at)

    def pack(self, at: Mem, kind: str, tensors: Sequence[Tensor] = (), **options: Any) -> None:
        """Write down what belongs at a place."""
        self.used.update({t.name: t for t in tensors})
        self.recipe.append(Pack(at.region, at.offset, kind, tuple(t.name for t in tensors), options))

    def format_of(self, tensor: Tensor, role: str) -> str:
        """Format of a matrix on the chip: as published in MX, otherwise the plan's. Raises InputError for one that
        the core does not multiply."""
        mx = tensor.format in FORMATS and not tensor.transposed and "*" not in tensor.name
        published = mx and tensor.shape[-1] % BLOCK == 0
        return self._multiplied(tensor, tensor.format if published else self.plan.weight(role).name, role)

    def made(self, tensor: Tensor, role: str) -> str:
        """Format of a matrix that is made from a tensor's values: the plan's. Raises as `format_of` does."""
        return self._multiplied(tensor, self.plan.weight(role).name, role)

    def _multiplied(self, tensor: Tensor, name: str, role: str) -> str:
        if name not in ("mxfp4", "mxint8") or name not in self.geometry.formats:
            raise InputError(
                self.model.name, tensor.name, Phrase(f"weights in {name}"),
                f"a format that the core multiplies ({', '.join(f for f in self.geometry.formats if f[:2] == 'mx')}):"
                " choose other formats or another chip",
            )  # fmt: skip
        if self.plan.activation(role).name != "mxint8":
            raise InputError(
                self.model.name, tensor.name, Phrase(f"activations in {self.plan.activation(role).name}"),
                "mxint8, the core's format of activations",
            )  # fmt: skip
        return name

    def cut(self, n: int, k: int, format: str) -> tuple[tuple[Chunk, ...], ...]:
        """The chunks of a matrix, by `tiles` and `chunk_bytes`."""
        g = self.geometry
        tiles = min(self.tiles, -(-n // g.outputs(format)))
        step = tiles * (g.beat_bytes(format) + g.scale_bytes(format))
        blocks = -(-k // BLOCK)
        parts = -(-blocks * step // self.chunk_bytes)
        # activations' scales start at multiples of 32 bytes, one byte a block
        return chunks(
            g, n, k, format, tiles, round_up(-(-blocks // parts), BLOCK_BYTES) if parts > 1 else blocks
        )

    def matrix(
        self, tensor: Tensor, role: str, rows: tuple[int, int, int] | None = None, at: Mem | None = None,
        stride: int = 0, **options: Any,
    ) -> Matrix:  # fmt: skip
        """The weights of `tensor` [out, in] (or of [experts, out, in], an expert every `stride` bytes), or its rows
        start:stop:step. `at`: where; a new place of region weights otherwise."""
        format = self.format_of(tensor, role)
        start, stop, by = rows or (0, tensor.shape[-2], 1)
        n, k = len(range(start, stop, by)), tensor.shape[-1]
        commands = self.cut(n, k, format)
        size = commands[-1][-1].offset + commands[-1][-1].bytes
        key = (tensor.name, role, start, stop, by, tuple(options.items()))
        if at is None and key in self._known:
            return Matrix(self._known[key], n, k, format, commands, size)
        place = at or self.room("weights", size, max(self.geometry.beat_bytes(format), ALIGN))
        if key not in self._known:
            self.pack(
                place, "matrix", [tensor], format=format, rows=[start, stop, by], stride=stride,
                tiles=commands[0][0].tiles, steps=commands[0][0].steps, **options,
            )  # fmt: skip
            self._known[key] = place
        return Matrix(place, n, k, format, commands, size)

    def vector(self, tensor: Tensor | None, n: int, at: Mem | None = None, **options: Any) -> Mem:
        """FP32 values of a tensor (None: zeros), `n` for each expert; see `memory_image.vector` for the options."""
        key = (None if tensor is None else tensor.name, n, str(sorted(options.items())))
        if at is None and key in self._known:
            return self._known[key]
        place = at or self.room("vectors", round_up(n * options.get("spread", 4), ALIGN))
        if key not in self._known:
            self.pack(place, "vector", [] if tensor is None else [tensor], n=n, **options)
            self._known[key] = place
        return place

    def once(self, key: Any, make: Any) -> Any:
        """What `make` gave the first time it was asked for with this key."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def rotary(self, rope: Rope, positions: int) -> tuple[Mem, int]:
        """The table of a rotary embedding and the bytes of its rows: cos, then sin."""
        row = round_up(4 * rope.rotary_dim, ALIGN)

        def make() -> Mem:
            at = self.room("tables", row * positions)
            self.pack(at, "rotary", rope=asdict(rope), positions=positions, row=row)
            return at

        return self.once(("rotary", rope), make), row

    def fill(self, value: int, size: int) -> Mem:
        """`size` bytes of one value."""

        def make() -> Mem:
            at = self.room("tables", size)
            self.pack(at, "fill", value=value, bytes=size)
            return at

        return self.once(("fill", value, size), make)

    def indices(self, n: int) -> Mem:
        """The numbers below n, one every 32 bytes."""

        def make() -> Mem:
            at = self.room("tables", 32 * n)
            self.pack(at, "indices", n=n)
            return at

        return self.once(("indices", n), make)

    def numbers(self, values: Sequence[int]) -> Mem:
        """These numbers as uint32, one after another."""
        listed = list(values)

        def make() -> Mem:
            at = self.room("tables", 4 * len(listed))
            self.pack(at, "numbers", values=listed)
            return at

        return self.once(("numbers", tuple(listed)), make)

    def regions(self, order: Sequence[str]) -> dict[str, Region]:
        """Every region's place: those named first, in that order."""
        placed: dict[str, Region] = {}
        base = 0
        for name in [*order, *(n for n in self.sizes if n not in order)]:
            size = round_up(max(self.sizes.get(name, 0), 1), ALIGN)
            placed[name] = Region(base, size)
            base = round_up(base + size, 4096)
        return placed
