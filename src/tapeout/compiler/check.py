"""What must hold between passes; a violation is a mistake of the compiler, told in the model's terms."""

from __future__ import annotations

from collections.abc import Iterable

from tapeout.chip.isa.geometry import Geometry
from tapeout.compiler.ir import Buffer, Calculate, Item, Loop, Op, Ref, Scalar, Stop, scalars, spans


class Broken(AssertionError):
    """The IR does not hold; the compiler is wrong."""


def check(items: Iterable[Item], g: Geometry | None = None) -> None:
    """Every scalar is made before its use; every buffer is written before it is read, in bounds, and, once `g` is
    given, has an address within the scratchpad. Raises Broken."""
    _check(items, set(), set(), g)


def _fail(item: Item, what: str) -> Broken:
    o = item.origin
    where = f"layer {o.layer}" if o.layer is not None else "outside the layers"
    return Broken(f"{where}, {o.name}: {what}")


def _check(items: Iterable[Item], made: set[Scalar], written: set[Buffer], g: Geometry | None) -> None:
    for item in items:
        if isinstance(item, Loop):
            if item.count not in made:
                raise _fail(item, "a loop whose count is not known")
            _check(item.body, made, written, g)
            continue
        if isinstance(item, Stop):
            if item.more not in made:
                raise _fail(item, "an end whose condition is not known")
            continue
        values = list(item.operands.values()) if isinstance(item, Op) else [item.a, item.b, item.constant]
        for v in values:
            s = scalars(v)
            if s is not None and s not in made:
                raise _fail(item, f"{item.instruction.name} takes a scalar that nothing has made")
        for (place, offset, size), writes in spans(item):
            if not isinstance(place, Buffer):
                continue
            if offset < 0 or offset + size > place.size:
                raise _fail(item, f"bytes {offset} to {offset + size} of {place.name} ({place.size} bytes)")
            if not writes and place not in written:
                raise _fail(item, f"{place.name} is read before anything is written to it")
            if g is not None and not 0 <= place.address <= g.pad_bytes - place.size:
                raise _fail(item, f"{place.name} at {place.address} of a scratchpad of {g.pad_bytes} bytes")
        for (place, _, _), writes in spans(item):
            if writes and isinstance(place, Buffer):
                written.add(place)
        if isinstance(item, Calculate):
            made.add(item.rd)


__all__ = ["Broken", "Ref", "check"]
