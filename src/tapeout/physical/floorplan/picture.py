"""The picture of a floorplan: the die to scale, a core enlarged, the package, a key with areas, and the findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tapeout.physical.floorplan.checks import findings
from tapeout.physical.floorplan.die import Floorplan
from tapeout.physical.floorplan.mesh import mesh
from tapeout.physical.floorplan.package import package
from tapeout.physical.floorplan.png import png as to_png
from tapeout.physical.floorplan.scene import Box, Line, Scene, Shape, Text, Use, width_of
from tapeout.physical.floorplan.shapes import Rectangle
from tapeout.physical.views import shipped

TINTS = {
    "matrix": "r1", "vector": "r2", "scratchpad": "r3", "crossbar": "r3", "sequencer": "r7", "noc": "ink",
    "memory_phy": "r4", "serdes": "r5", "die_to_die": "r8", "host": "r6", "management": "muted", "io": "soft",
}  # fmt: skip
WORDS = {
    "matrix": "matrix engines", "vector": "vector engines", "scratchpad": "scratchpad banks",
    "crossbar": "scratchpad crossbar and control", "sequencer": "sequencers, load and store",
    "noc": "network on chip: routers", "memory_phy": "memory PHYs and controllers", "serdes": "SerDes",
    "die_to_die": "die to die", "host": "host interface", "management": "management", "io": "low-speed IO",
}  # fmt: skip
LABELS = {  # on a block, the first that fits
    "memory_phy": ["memory PHY", "PHY"], "serdes": ["SerDes"], "host": ["host interface", "host"],
    "management": ["management", "mgmt"], "die_to_die": ["die to die", "D2D"], "io": ["IO"],
    "matrix": ["matrix engine", "matrix"], "vector": ["vector engine", "vector"], "crossbar": ["crossbar"],
    "sequencer": ["sequencer, load, store", "sequencer"], "noc": ["router and channels", "router"],
}  # fmt: skip
PACKAGES = {"organic": "package", "cowos-s": "package, CoWoS-S", "cowos-l": "package, CoWoS-L"}
WIDTH, MARGIN, GAP = 1160.0, 24.0, 28.0
DIE_WIDTH, DIE_HEIGHT = 660.0, 800.0  # the space for the die
MOST_TILES = 4096  # beyond, tiles are not told apart in the picture


def svg(plan: Floorplan, alone: bool = True, prefix: str = "fp") -> str:
    """The picture as SVG; see `Scene.svg`."""
    return scene(plan).svg(alone, prefix)


def png(plan: Floorplan) -> bytes:
    """The picture as PNG (needs the `silicon` extra)."""
    return to_png(scene(plan))


def scene(plan: Floorplan) -> Scene:
    """The picture."""
    spec, found = plan.spec, findings(plan)
    dies = f"{spec.dies} dies of " if spec.dies > 1 else ""
    cores = f"{spec.cores} cores" if spec.cores > 1 else "one core"
    about = (
        f"{dies}{plan.width:.1f} × {plan.height:.1f} mm, {cores}, {spec.memory.stacks} × "
        f"{spec.memory.kind.upper()}, {spec.node}, {spec.clock_ghz:g} GHz"
    )
    s = Scene(WIDTH, 0, f"Floorplan of {spec.name}: {about}")
    s.add(Text(MARGIN, MARGIN + 20, spec.name, 24, bold=True))
    s.add(Text(MARGIN, MARGIN + 44, about, 15, "soft"))
    top = MARGIN + 66
    below = _die(s, plan, MARGIN, top)
    x = MARGIN + DIE_WIDTH + GAP
    right = _package(s, plan, x, top, WIDTH - MARGIN - x, 250)
    right = _core(s, plan, x, right + 22, WIDTH - MARGIN - x, 300)
    right = _facts(s, found, x, right + 22, WIDTH - MARGIN - x)
    s.height = _key(s, plan, MARGIN, max(below, right) + 22) + MARGIN
    return s


def _scaled(r: Rectangle, k: float, x0: float, y0: float, height: float) -> tuple[float, float, float, float]:
    return x0 + r.x * k, y0 + (height - r.y - r.height) * k, r.width * k, r.height * k


def _label(r: Sequence[float], words: Sequence[str], most: float = 15.0) -> list[Shape]:
    """The first of `words` that fits into the box (x, y, width, height), along its longer side; nothing if none."""
    x, y, w, h = r
    turned = h > 1.3 * w
    long, short = (h, w) if turned else (w, h)
    for text in words:
        size = min(most, short * 0.62, long / max(width_of(text, 1.0), 0.1) * 0.94)
        if size >= 8.5:
            cx, cy = x + w / 2, y + h / 2
            at = (cx + size * 0.35, cy) if turned else (cx, cy + size * 0.35)
            return [Text(*at, text, size, "paper", "middle", turned=turned)]
    return []


def _blocks(
    parts: Sequence[Rectangle], k: float, x0: float, y0: float, height: float, labels: bool
) -> list[Shape]:
    shapes: list[Shape] = []
    for r in parts:
        box = _scaled(r, k, x0, y0, height)
        shapes.append(
            Box(
                *box,
                TINTS[r.kind],
                "paper",
                0.5 if min(box[2:]) > 4 else 0.0001,
                opacity=0.62 if r.kind == "crossbar" else 1.0,
            )
        )
        shapes += _lattice(r.grid, box)
        if labels:
            banks = f"{r.grid[0] * r.grid[1]} banks"
            shapes += _label(box, [banks] if r.kind == "scratchpad" else LABELS.get(r.kind, [r.name]))
    return shapes


def _lattice(grid: tuple[int, int], box: Sequence[float], least: float = 3.0) -> list[Shape]:
    """The lines between equal parts, where they are far enough apart to be seen."""
    x, y, w, h = box
    columns = range(1, grid[0]) if w / grid[0] >= least else ()
    rows = range(1, grid[1]) if h / grid[1] >= least else ()
    lines: list[Shape] = [
        Line(x + w * i / grid[0], y, x + w * i / grid[0], y + h, "paper", 0.5, 0.55) for i in columns
    ]
    lines += [Line(x, y + h * i / grid[1], x + w, y + h * i / grid[1], "paper", 0.5, 0.55) for i in rows]
    return lines


def _die(s: Scene, plan: Floorplan, x: float, y: float) -> float:
    """The die with the field of a reticle around it, where that does not make it tiny; the y below it."""
    view = shipped().nominal()
    field = (view.get("packaging.die.reticle_short", "mm"), view.get("packaging.die.reticle_long", "mm"))
    framed = plan.width <= field[0] and plan.height <= field[1] and plan.height > 0.5 * field[1]
    wide, high = field if framed else (plan.width, plan.height)
    k = min(DIE_WIDTH / wide, DIE_HEIGHT / high)
    x0, y0 = x + (wide - plan.width) / 2 * k, y + (high - plan.height) / 2 * k
    if not framed:
        x0 = x + (DIE_WIDTH - plan.width * k) / 2
    if framed:
        s.add(Box(x, y, wide * k, high * k, None, "muted", 1.2, dash=7, mark="frame"))
        s.add(Text(x + 6, y + 15, f"reticle {field[0]:g} × {field[1]:g} mm", 11, "soft"))
    s.add(Box(x0, y0, plan.width * k, plan.height * k, "hair", None))
    inside = (plan.tile.router, *plan.tile.parts)
    t = plan.tile
    if len(plan.origins) <= MOST_TILES:
        s.groups["tile"] = _blocks(inside, k, 0.0, 0.0, t.height, False)
        for ox, oy in plan.origins:
            s.add(Use("tile", x0 + ox * k, y0 + (plan.height - oy - t.height) * k))
    else:
        low, up = plan.origins[0], plan.origins[-1][1] - plan.origins[0][1] + t.height
        area = Rectangle("core", "", *low, plan.grid[0] * plan.pitch[0], up, plan.grid)
        box = _scaled(area, k, x0, y0, plan.height)
        s.add(Box(*box, "r1", None), *_lattice(plan.grid, box, 2.0))
    s.add(*_blocks(plan.blocks, k, x0, y0, plan.height, True))
    m = mesh(plan)
    if len(m.links) <= MOST_TILES:
        for hop in (*m.links, *m.entries):
            a, b = hop.start, hop.end
            # along x first, then along y
            ends = [(a[0], a[1], b[0], a[1]), (b[0], a[1], b[0], b[1])]
            for ax, ay, bx, by in ends:
                if abs(ax - bx) + abs(ay - by) > 1e-9:
                    s.add(
                        Line(
                            x0 + ax * k,
                            y0 + (plan.height - ay) * k,
                            x0 + bx * k,
                            y0 + (plan.height - by) * k,
                            "ink",
                            max(min(0.12 * m.bundle_mm * k, 2.5), 0.7),
                            0.45,
                        )
                    )
    s.add(Box(x0, y0, plan.width * k, plan.height * k, None, "ink", 1.4, mark="outline"))
    base = y + high * k + 18
    step = next(v for v in (0.1, 0.2, 0.5, 1, 2, 5, 10) if v * k >= 60 or v == 10)
    s.add(
        Line(x0, base, x0 + step * k, base, "ink", 2), Text(x0 + step * k + 8, base + 5, f"{step:g} mm", 13)
    )
    words = f"{plan.width:.2f} × {plan.height:.2f} mm = {plan.width * plan.height:.1f} mm²"
    s.add(Text(x0 + plan.width * k, base + 5, words, 13, anchor="end")) if plan.width * k > 320 else s.add(
        Text(x0, base + 24, words, 13)
    )
    return base + (10 if plan.width * k > 320 else 30)


def _package(s: Scene, plan: Floorplan, x: float, y: float, width: float, height: float) -> float:
    """Dies and stacks on what they stand on, lying if that is larger; the y below."""
    p, spec = package(plan), plan.spec
    lying = p.height > p.width * 1.15 and spec.dies > 1
    w, h = (p.height, p.width) if lying else (p.width, p.height)
    k = min(width / w, height / h)
    organic = spec.package == "organic"
    s.add(Text(x, y + 4, PACKAGES[spec.package], 14, bold=True))
    y += 16

    def box(bx: float, by: float, bw: float, bh: float) -> tuple[float, float, float, float]:
        if lying:
            return x + by * k, y + bx * k, bh * k, bw * k
        return x + bx * k, y + (p.height - by - bh) * k, bw * k, bh * k

    s.add(Box(*box(0, 0, p.width, p.height), "panel", "line", 1.2))
    for die in p.dies:
        b = box(die.x, die.y, die.width, die.height)
        s.add(Box(*b, "hair", None))
        for r in plan.blocks:
            rx, ry = r.x, r.y
            if die.turned:
                rx, ry = plan.width - r.x - r.width, plan.height - r.y - r.height
            s.add(Box(*box(die.x + rx, die.y + ry, r.width, r.height), TINTS[r.kind], None))
        x0, y0 = (min(o[axis] for o in plan.origins) for axis in (0, 1))
        ax = max(o[0] for o in plan.origins) + plan.tile.width - x0
        ay = max(o[1] for o in plan.origins) + plan.tile.height - y0
        if die.turned:
            x0, y0 = plan.width - x0 - ax, plan.height - y0 - ay
        area = box(die.x + x0, die.y + y0, ax, ay)
        grid = (plan.grid[1], plan.grid[0]) if lying else plan.grid
        s.add(Box(*area, "r1", None, opacity=0.75), *_lattice(grid, area, 2.5))
        s.add(Box(*b, None, "ink", 1.0))
    for stack in p.stacks:
        b = box(stack.x, stack.y, stack.width, stack.height)
        s.add(Box(*b, "paper", "soft", 1.0))
        cx, cy = b[0] + b[2] / 2, b[1] + b[3] / 2
        size = min(12.0, b[2] * 0.22, b[3] * 0.28)
        if size >= 5.5:
            s.add(Text(cx, cy - 1, spec.memory.kind.upper(), size, "ink", "middle"))
            s.add(
                Text(cx, cy + size, f"{spec.memory.gibibytes_per_stack} GiB", size * 0.85, "soft", "middle")
            )
    base = y + h * k + 16
    words = f"{w:.1f} × {h:.1f} mm" + ("" if organic else " of interposer")
    if organic:
        words += f"; {spec.memory.stacks} × {spec.memory.kind.upper()} on the board"
    s.add(Text(x, base, words, 12, "soft"))
    return base


def _core(s: Scene, plan: Floorplan, x: float, y: float, width: float, height: float) -> float:
    """One core with its router, enlarged; the y below it."""
    t = plan.tile
    k = min(width / t.width, height / t.height)
    s.add(Text(x, y + 4, "one core with its router", 14, bold=True))
    y += 16
    s.add(*_blocks((t.router, *t.parts), k, x, y, t.height, True))
    s.add(Box(x, y, t.width * k, t.height * k, None, "ink", 1.2))
    base = y + t.height * k + 16
    s.add(Text(x, base, f"{t.width:.3f} × {t.height:.3f} mm = {t.width * t.height:.3f} mm²", 12, "soft"))
    return base


def _facts(s: Scene, found: dict[str, Any], x: float, y: float, width: float) -> float:
    """Numbers beside the picture; the y below them."""
    n = found["network"]
    rows = [
        ("die in use", f"{found['die']['utilisation']:.1%}"),
        ("array", f"{found['array']['columns']} × {found['array']['rows']} cores"),
        ("links of the network", f"{n['links']} + {n['memory_entries']} to memory, {n['link_mm']:.0f} mm"),
        ("wires of the network", f"{n['wire_m']:,.1f} m"),
        ("longest hop", f"{n['longest_hop_mm']:.2f} mm: {n['longest_hop_ps']:.0f} of {n['wire_budget_ps']:.0f} ps"),
    ]  # fmt: skip
    for kind, e in found["edges"].items():
        rows.append(
            (f"edge, {WORDS[kind].split(' and')[0]}", f"{e['has_mm']:.1f} mm, usual {e['needs_mm']:.1f}")
        )
    for name, value in rows:
        s.add(Text(x, y, name, 12.5, "soft"), Text(x + width, y, value, 12.5, anchor="end"))
        y += 19
    return y - 12


def _key(s: Scene, plan: Floorplan, x: float, y: float) -> float:
    """Colours with the area of each kind of block on one die; the y below."""
    whole = plan.width * plan.height
    rows = [(kind, mm2) for kind, mm2 in plan.areas().items() if mm2 > 0]
    entries: list[tuple[str, float, str, float]] = [
        (TINTS[kind], 0.62 if kind == "crossbar" else 1.0, WORDS[kind], mm2) for kind, mm2 in rows
    ]
    entries.append(("hair", 1.0, "margins and channels", whole - plan.used))
    per = -(-len(entries) // 3)
    column = (WIDTH - 2 * MARGIN + GAP) / 3
    digits = 1 if whole >= 50 else 2 if whole >= 5 else 3
    s.add(Line(x, y - 6, WIDTH - MARGIN, y - 6, "line", 1))
    for i, (tint, opacity, words, mm2) in enumerate(entries):
        cx, cy = x + (i // per) * column, y + 18 + (i % per) * 22
        s.add(Box(cx, cy - 11, 13, 13, tint, "line" if tint == "hair" else None, opacity=opacity))
        s.add(Text(cx + 21, cy, words, 13))
        s.add(Text(cx + column - GAP, cy, f"{mm2:.{digits}f} mm²  {mm2 / whole:.1%}", 13, "soft", "end"))
    return y + 18 + per * 22 - 8
