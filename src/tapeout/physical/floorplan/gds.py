"""The floorplan as GDSII: named layers and cells, a core once and placed as often as it is there.

GDSII has no names of layers: `lyp` is the layer properties file that KLayout reads beside it. Nothing in the bytes
depends on when or where they are written.
"""

from __future__ import annotations

import html
from typing import Any

from tapeout.errors import InputError, MissingDependency, Phrase
from tapeout.physical.floorplan.budget import own
from tapeout.physical.floorplan.die import Floorplan
from tapeout.physical.floorplan.mesh import mesh
from tapeout.physical.floorplan.package import package
from tapeout.physical.floorplan.scene import COLOURS
from tapeout.physical.floorplan.shapes import Rectangle
from tapeout.physical.views import shipped

# name: (layer, colour); datatype 0 holds shapes, datatype 1 their names
LAYERS: dict[str, tuple[int, str]] = {
    "INTERPOSER": (1, "line"), "STACK": (2, "soft"), "RETICLE": (3, "muted"), "SEAL_RING": (4, "ink"),
    "DIE": (5, "ink"), "CORE": (10, "ink"), "MATRIX": (11, "r1"), "VECTOR": (12, "r2"), "SCRATCHPAD": (13, "r3"),
    "CROSSBAR": (14, "r3"), "SEQUENCER": (15, "r7"), "NOC": (16, "ink"), "NOC_WIRES": (17, "soft"),
    "MEMORY_PHY": (20, "r4"), "SERDES": (21, "r5"), "DIE_TO_DIE": (22, "r8"), "HOST": (23, "r6"),
    "MANAGEMENT": (24, "muted"), "IO": (25, "soft"),
}  # fmt: skip
PARTS = {"matrix": "UNIT", "vector": "LANE", "scratchpad": "BANK"}  # what a grid repeats
NM = 1_000_000  # in a millimetre; the file's unit is the nanometre


def gds(plan: Floorplan) -> bytes:
    """The GDSII file (needs the `silicon` extra). Top cell PACKAGE, under it DIE, TILE, CORE and their blocks."""
    try:
        import klayout.db as db
    except ImportError:
        raise MissingDependency("a GDSII file", "silicon") from None
    layout = _Writer(db).layout(plan)
    options = db.SaveLayoutOptions()
    options.format = "GDS2"
    options.gds2_write_timestamps = False
    options.gds2_libname = "FLOORPLAN"
    return bytes(layout.write_bytes(options))


def cells(data: bytes, where: object = "floorplan.gds") -> dict[str, Any]:
    """What is in a GDSII file: by cell, its size in nm and how often it is placed in all; layers by number.

    Raises InputError for bytes that are no GDSII.
    """
    try:
        import klayout.db as db
    except ImportError:
        raise MissingDependency("reading GDSII", "silicon") from None
    layout = db.Layout()
    try:
        layout.read_bytes(data)
    except RuntimeError as e:
        raise InputError(where, "", Phrase(str(e).split("\n")[0]), "a GDSII file") from None
    counts: dict[str, int] = {}
    for cell in layout.each_cell_top_down():
        one = layout.cell(cell)
        if one.is_top():
            counts[one.name] = counts.get(one.name, 0) + 1
        for instance in one.each_inst():
            times = max(instance.na, 1) * max(instance.nb, 1)
            name = instance.cell.name
            counts[name] = counts.get(name, 0) + times * counts[one.name]
    found = {}
    for each in layout.each_cell():
        box = each.bbox()
        found[each.name] = {"width_nm": box.width(), "height_nm": box.height(), "placed": counts[each.name]}
    layers = sorted({i.layer for i in layout.layer_infos()})
    return {"cells": dict(sorted(found.items())), "layers": layers}


def lyp() -> str:
    """KLayout's layer properties: names and colours of LAYERS."""
    rows = []
    for name, (number, colour) in LAYERS.items():
        paint = COLOURS[colour][0]
        for datatype, more in ((0, ""), (1, " names")):
            outline = (number < 10 and name != "SEAL_RING") or name == "CORE"
            shown = (
                "false" if datatype and 10 <= number < 20 else "true"
            )  # names within cores: too many at once
            rows.append(
                f" <properties>\n  <frame-color>{paint}</frame-color>\n  <fill-color>{paint}</fill-color>\n"
                f"  <dither-pattern>I{1 if outline else 9}</dither-pattern>\n  <visible>{shown}</visible>\n"
                "  <transparent>false</transparent>\n  <width>1</width>\n"
                f"  <name>{html.escape(name + more)}</name>\n  <source>{number}/{datatype}@1</source>\n </properties>\n"
            )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<layer-properties>\n'
        + "".join(rows)
        + "</layer-properties>\n"
    )


class _Writer:
    """Builds a `klayout.db.Layout` of a plan."""

    def __init__(self, db: Any) -> None:
        self.db = db
        self.ly = db.Layout()
        self.ly.dbu = 0.001
        self.shape = {n: self.ly.layer(db.LayerInfo(k, 0, n)) for n, (k, _) in LAYERS.items()}
        self.text = {n: self.ly.layer(db.LayerInfo(k, 1, f"{n}_names")) for n, (k, _) in LAYERS.items()}

    def layout(self, plan: Floorplan) -> Any:
        db, ly = self.db, self.ly
        top, die = ly.create_cell("PACKAGE"), ly.create_cell("DIE")
        tile = self.tile(plan)
        self.box(die, "DIE", 0, 0, plan.width, plan.height, plan.spec.name)
        seal = own("edge.seal_ring", "mm")
        ring = db.Region(self.rect(-seal, -seal, plan.width + seal, plan.height + seal))
        ring -= db.Region(self.rect(0, 0, plan.width, plan.height))
        die.shapes(self.shape["SEAL_RING"]).insert(ring)
        self.array(die, tile, plan)
        made: dict[tuple[str, int, int], Any] = {}
        for r in plan.blocks:
            x, y, w, h = self.nm(r)
            key = (r.kind, w, h)
            if key not in made:
                same = sum(k[0] == r.kind for k in made)
                name = r.kind.upper() + (f"_{same + 1}" if same else "")
                made[key] = ly.create_cell(name)
                made[key].shapes(self.shape[r.kind.upper()]).insert(db.Box(0, 0, w, h))
            die.insert(db.CellInstArray(made[key].cell_index(), db.Trans(x, y)))
            die.shapes(self.text[r.kind.upper()]).insert(db.Text(r.name, x + w // 2, y + h // 2))
        m = mesh(plan)
        wide = max(round(m.bundle_mm * NM), 2)
        for hop in (*m.links, *m.entries):
            a, b = ((round(x * NM), round(y * NM)) for x, y in (hop.start, hop.end))
            points = [db.Point(*a), db.Point(b[0], a[1]), db.Point(*b)]
            die.shapes(self.shape["NOC_WIRES"]).insert(db.Path(points, wide))
        p = package(plan)
        self.box(top, "INTERPOSER", 0, 0, p.width, p.height, plan.spec.package)
        for d in p.dies:
            x, y = round(d.x * NM), round(d.y * NM)
            if d.turned:
                x, y = x + round(d.width * NM), y + round(d.height * NM)
            top.insert(db.CellInstArray(die.cell_index(), db.Trans(2 if d.turned else 0, False, x, y)))
            top.shapes(self.text["DIE"]).insert(
                db.Text(d.name, round((d.x + d.width / 2) * NM), round((d.y + d.height / 2) * NM))
            )
        if p.stacks:
            stack = ly.create_cell("MEMORY_STACK")
            self.box(stack, "STACK", 0, 0, p.stacks[0].width, p.stacks[0].height, plan.spec.memory.kind)
            for s in p.stacks:
                at = db.Trans(round(s.x * NM), round(s.y * NM))
                top.insert(db.CellInstArray(stack.cell_index(), at))
        view = shipped().nominal()
        w, h = view.get("packaging.die.reticle_short", "mm"), view.get("packaging.die.reticle_long", "mm")
        d = p.dies[0]
        x, y = d.x + (d.width - w) / 2, d.y + (d.height - h) / 2
        self.box(top, "RETICLE", x, y, w, h, "reticle field of die 0")
        return ly

    def tile(self, plan: Floorplan) -> Any:
        """TILE: the router, and CORE with its blocks."""
        db, ly, t = self.db, self.ly, plan.tile
        tile, core, router = (ly.create_cell(n) for n in ("TILE", "CORE", "ROUTER"))
        self.box(router, "NOC", 0, 0, t.router.width, t.router.height, "router")
        self.box(core, "CORE", 0, 0, t.core.width, t.core.height, "core")
        seen: dict[str, int] = {}
        for r in t.parts:
            kind = r.kind.upper()
            seen[kind] = seen.get(kind, 0) + 1
            one = ly.create_cell(kind + (f"_{seen[kind]}" if seen[kind] > 1 else ""))
            x, y, w, h = self.nm(r.moved(-t.core.x, -t.core.y))
            one.shapes(self.shape[kind]).insert(db.Box(0, 0, w, h))
            one.shapes(self.text[kind]).insert(db.Text(r.name, w // 2, h // 2))
            columns, rows = r.grid
            if columns * rows > 1 and w // columns > 1 and h // rows > 1:
                name = PARTS[r.kind] + (f"_{seen[kind]}" if seen[kind] > 1 else "")
                part = ly.create_cell(name)
                pw, ph = w // columns, h // rows
                gap = 1 if min(pw, ph) > 100 else 0
                part.shapes(self.shape[kind]).insert(db.Box(gap, gap, pw - gap, ph - gap))
                one.insert(
                    db.CellInstArray(
                        part.cell_index(), db.Trans(0, 0), db.Vector(pw, 0), db.Vector(0, ph), columns, rows
                    )
                )
            core.insert(db.CellInstArray(one.cell_index(), db.Trans(x, y)))
        tile.insert(db.CellInstArray(router.cell_index(), db.Trans(0, 0)))
        tile.insert(db.CellInstArray(core.cell_index(), db.Trans(round(t.core.x * NM), round(t.core.y * NM))))
        return tile

    def array(self, die: Any, tile: Any, plan: Floorplan) -> None:
        """Full rows as one array, the last row another."""
        db = self.db
        columns, _ = plan.grid
        full, rest = divmod(len(plan.origins), columns)
        px, py = (round(p * NM) for p in plan.pitch)
        x, y = (round(v * NM) for v in plan.origins[0])
        for row, count, rows in ((0, columns, full), (full, rest, 1)):
            if count and rows:
                die.insert(
                    db.CellInstArray(
                        tile.cell_index(), db.Trans(x, y + row * py), db.Vector(px, 0), db.Vector(0, py), count, rows
                    )
                )  # fmt: skip

    def nm(self, r: Rectangle) -> tuple[int, int, int, int]:
        """(x, y, width, height): edges rounded, so that blocks that touch still touch and never overlap."""
        x, y = round(r.x * NM), round(r.y * NM)
        return x, y, round((r.x + r.width) * NM) - x, round((r.y + r.height) * NM) - y

    def rect(self, x0: float, y0: float, x1: float, y1: float) -> Any:
        return self.db.Box(*(round(v * NM) for v in (x0, y0, x1, y1)))

    def box(self, cell: Any, layer: str, x: float, y: float, w: float, h: float, name: str) -> None:
        cell.shapes(self.shape[layer]).insert(self.rect(x, y, x + w, y + h))
        at = (round((x + w / 2) * NM), round((y + h / 2) * NM))
        cell.shapes(self.text[layer]).insert(self.db.Text(name, *at))
