"""Random commands of the matrix engine: all formats, splits, strides, banks, with and without results."""

from __future__ import annotations

from tapeout.chip.isa.geometry import BLOCK_BYTES, round_up
from tapeout.chip.isa.matrix.matmul import NAMES
from tapeout.chip.verification.programs.layout import Range
from tapeout.chip.verification.programs.moves import Moves
from tapeout.chip.verification.programs.tree import Command, Touch

STEPS = 6


class Products(Moves):
    """`matmul`."""

    def matmul(self) -> Command | None:
        """None if this core's scratchpad has no room for what was chosen."""
        g, at = self.g, self.at
        for _ in range(40):
            rows, tiles = self.between(1, g.rows), self.between(1, min(g.tiles, 16))
            name = g.formats[self.between(0, len(g.formats) - 1)]
            height, steps = self.between(1, rows), self.between(1, STEPS)
            if self.chance(0.4):
                height = rows
            groups = -(-rows // height)
            blocks = steps * groups
            beats = blocks * tiles
            sa = self.pick(0, BLOCK_BYTES * self.between(0, 9), -BLOCK_BYTES * self.between(0, 9))
            line = round_up(tiles * g.pitch(name), BLOCK_BYTES)
            so = line + BLOCK_BYTES * self.between(0, 2)
            so = -so if self.chance(0.3) else so
            drain = self.chance(0.7)
            reach, out_reach = (rows - 1) * sa, (rows - 1) * so
            sizes = (
                (at.codes, beats * g.beat_bytes(name), g.beat_bytes(name), 0),
                (at.scales, beats * g.scale_bytes(name), max(g.scale_bytes(name), BLOCK_BYTES), 0),
                (at.codes, 32 * blocks + abs(reach), BLOCK_BYTES, -min(reach, 0)),
                (at.scales, blocks + abs(reach), BLOCK_BYTES, -min(reach, 0)),
                (at.floats, tiles * g.pitch(name) + abs(out_reach), BLOCK_BYTES, -min(out_reach, 0)),
            )
            places = [self._place(*s) for s in sizes]
            if all(places):
                break
        else:
            return None
        (w, w_in), (wscale, ws_in), (a, a_in), (ascale, as_in), (out, out_in) = (p for p in places if p)
        operands = {
            "a": a, "ascale": ascale, "sa": sa, "w": w, "wscale": wscale, "out": out, "so": so, "steps": steps,
        }  # fmt: skip
        fields = {
            "rows": rows, "height": height, "tiles": tiles, "bank": self.between(0, 1),
            "keep": int(self.chance(0.4)), "drain": int(drain), "format": NAMES.index(name),
        }  # fmt: skip
        touches = [Touch("pad", *r, False) for r in (w_in, ws_in, a_in, as_in)]
        if drain:
            touches.append(Touch("pad", *out_in, True))
        return Command("matmul", operands, fields, tuple(touches), self.chance(0.7))

    def again(self, before: Command) -> Command | None:
        """One whose sums continue those of `before`: same rows, tiles, format and bank."""
        for _ in range(30):
            one = self.matmul()
            if one is None:
                return None
            same = all(one.fields[n] == before.fields[n] for n in ("rows", "tiles", "format"))
            if same:
                return Command(
                    one.name,
                    one.operands,
                    one.fields | {"bank": before.fields["bank"], "keep": 1},
                    one.touches,
                )
        fields = before.fields | {"keep": 1}
        return Command(before.name, before.operands, fields, before.touches, self.chance(0.7))

    def _place(self, area: Range, size: int, unit: int, below: int) -> tuple[int, Range] | None:
        """An address, a multiple of `unit`, with `below` bytes in use below it, and the range in use."""
        low, high = -(-(area[0] + below) // unit), (area[1] - size + below) // unit
        if high < low:
            return None
        at = unit * self.between(low, high)
        return at, (at - below, at - below + size)
