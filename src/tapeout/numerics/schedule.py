"""The order of sums that a program chooses and the bits depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tapeout.numerics.attention import TILE
from tapeout.numerics.product import Split


@dataclass(frozen=True)
class Schedule:
    """`splits`: how products with weights of a role split their contraction, the outermost split first; a role
    may be given with the size of the contraction ("experts:2880") where its products differ. Roles are those
    of `model.architecture.Role`; absent: not split. `tile`: positions of an attention tile, a multiple of 32.
    """

    splits: Mapping[str, tuple[Split, ...]] = field(default_factory=dict)
    tile: int = TILE

    def __post_init__(self) -> None:
        if self.tile < 32 or self.tile % 32:
            raise ValueError(f"an attention tile of {self.tile} positions: not a multiple of 32")

    def of(self, role: str, k: int) -> tuple[Split, ...]:
        """Splits of a product with weights of `role` over a contraction of `k`."""
        return self.splits.get(f"{role}:{k}", self.splits.get(role, ()))
