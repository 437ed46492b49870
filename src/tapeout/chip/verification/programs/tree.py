"""A program as a tree: commands of engines with the bytes they touch, scalar instructions, loops, branches.

Nothing in it says how commands are ordered: `lower` derives the tokens from what they touch, so any part of a tree
is a program again, which is what makes failures shrink.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tapeout.chip.isa.definition import Engine
from tapeout.chip.isa.registry import instructions


@dataclass(frozen=True)
class Touch:
    """Bytes [low, high) of `space` ("pad" or "memory") that a command reads or writes, by the address in `operand`."""

    space: str
    low: int
    high: int
    writes: bool
    operand: str = ""

    def over(self, step: int, trips: int) -> Touch:
        """Of so many trips of a loop that adds `step` to the operand."""
        reach = step * max(trips - 1, 0)
        return Touch(
            self.space, self.low + min(reach, 0), self.high + max(reach, 0), self.writes, self.operand
        )

    def meets(self, other: Touch) -> bool:
        """The order of the two can be seen."""
        return (
            self.space == other.space
            and self.low < other.high
            and other.low < self.high
            and (self.writes or other.writes)
        )


@dataclass(frozen=True)
class Command:
    """An engine's instruction. `steps`: what is added to operands after each trip of the loop around it.
    `by_engine`: what comes before is waited for by the engine, not by the sequencer."""

    name: str
    operands: dict[str, int]
    fields: dict[str, int]
    touches: tuple[Touch, ...]
    by_engine: bool = True
    steps: dict[str, int] = field(default_factory=dict)

    @property
    def engine(self) -> Engine:
        """Who executes it."""
        return instructions()[self.name].engine

    def over(self, trips: int) -> tuple[Touch, ...]:
        """What it touches in so many trips."""
        return tuple(t.over(self.steps.get(t.operand, 0), trips) for t in self.touches)


@dataclass(frozen=True)
class Scalar:
    """An instruction of the sequencer that touches registers 16 to 27 alone (or only tells the host)."""

    text: str


@dataclass(frozen=True)
class Access:
    """`read` or `write` of the scratchpad by the sequencer."""

    text: str
    touch: Touch


@dataclass(frozen=True)
class Loop:
    """`source`: where the count comes from at run time: "constant", "argument" (of that number) or "pad" (that
    address). `carry`: what is under way at the end of a trip is waited for in the next one, not in this."""

    count: int
    source: str
    at: int
    body: tuple[Node, ...]
    carry: bool = True


@dataclass(frozen=True)
class Branch:
    """The arm is left out if the comparison (text of `branch` without its target) holds."""

    text: str
    arm: tuple[Node, ...]


Node = Command | Scalar | Access | Loop | Branch


@dataclass(frozen=True)
class Tree:
    """A program, and the host's arguments for it."""

    nodes: tuple[Node, ...]
    arguments: tuple[int, ...]


def walk(nodes: tuple[Node, ...]) -> Iterator[Node]:
    """Every node, outer ones first."""
    for node in nodes:
        yield node
        if isinstance(node, Loop):
            yield from walk(node.body)
        elif isinstance(node, Branch):
            yield from walk(node.arm)


def touches_of(nodes: tuple[Node, ...], trips: int = 1) -> Iterator[tuple[Engine, Touch, Node]]:
    """What nodes touch and who does it, in so many trips of a loop whose body they are."""
    for node in nodes:
        if isinstance(node, Command):
            yield from ((node.engine, t, node) for t in node.over(trips))
        elif isinstance(node, Access):
            yield Engine.SEQUENCER, node.touch, node
        elif isinstance(node, Loop):
            yield from ((e, t, node) for e, t, _ in touches_of(node.body, node.count))
        elif isinstance(node, Branch):
            yield from ((e, t, node) for e, t, _ in touches_of(node.arm, trips))
