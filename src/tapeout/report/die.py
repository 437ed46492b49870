"""The picture of a package to scale: its dies block by block, memory stacks beside them, the reticle around."""

from __future__ import annotations

from tapeout.chip.spec import ChipSpec
from tapeout.physical.floorplan import Floorplan, Rectangle, floorplan
from tapeout.report.markup import Markup, tag

TINTS = {
    "matrix": "r1",
    "scratchpad": "r3",
    "vector": "r2",
    "sequencer": "r7",
    "memory_phy": "r4",
    "serdes": "r5",
    "die_to_die": "r8",
    "misc": "r6",
}
WORDS = {
    "matrix": "matrix engines",
    "scratchpad": "scratchpads",
    "vector": "vector engines",
    "sequencer": "sequencers, load and store",
    "memory_phy": "memory PHY",
    "serdes": "SerDes",
    "die_to_die": "die to die",
    "misc": "host, management, test",
}
GAP = 1.0  # mm between a die and its stacks, and between dies
STACK = 11.0  # mm, footprint of an HBM stack
RETICLE = (26.0, 33.0)


def die_picture(spec: ChipSpec) -> Markup:
    """An SVG of the package's dies and stacks, one unit a millimetre, with a key."""
    plan = floorplan(spec)
    hbm = spec.memory.kind.startswith("hbm")
    per_die = -(-spec.memory.stacks // spec.dies)
    left, right = (per_die - per_die // 2, per_die // 2) if hbm else (0, 0)
    side = STACK + GAP if hbm else 0.0
    tall = max(plan.height, left * STACK, right * STACK, RETICLE[1] if spec.dies == 1 else 0.0)
    # Dies stand above one another, their short edges facing, as die-to-die links run along those.
    pitch = max(plan.height, left * STACK, right * STACK) + GAP
    whole_w = max(plan.width, RETICLE[0] if spec.dies == 1 else 0.0) + 2 * side
    whole_h = tall if spec.dies == 1 else pitch * spec.dies - GAP
    shapes: list[Markup] = []
    x0 = (whole_w - plan.width) / 2
    for die in range(spec.dies):
        middle = whole_h / 2 if spec.dies == 1 else pitch * die + (pitch - GAP) / 2
        y0 = middle - plan.height / 2
        shapes.extend(_die(plan, x0, y0))
        for count, x in ((left, x0 - GAP - STACK), (right, x0 + plan.width + GAP)):
            shapes.extend(_stacks(count, x, middle, spec))
    if spec.dies == 1:
        rx, ry = (whole_w - RETICLE[0]) / 2, (whole_h - RETICLE[1]) / 2
        shapes.append(_rect(rx, ry, *RETICLE, class_="frame"))
        shapes.append(_label(rx + 0.3, ry + whole_h * 0.02 + 0.6, "reticle 26 × 33", 0.9, "start", "dim"))
    base = whole_h + 1.6
    shapes.append(tag("line", x1=_n(x0), x2=_n(x0 + plan.width), y1=_n(base), y2=_n(base), class_="rule"))
    shapes.append(_label(x0 + plan.width / 2, base + 1.5, f"{plan.width:.1f} mm", 1.2, "middle", "dim"))
    picture = tag(
        "svg",
        shapes,
        viewBox=f"-0.5 -0.5 {whole_w + 1:.2f} {base + 3:.2f}",
        class_="die",
        role="img",
        aria_label=f"{spec.dies} dies of {plan.width:.1f} by {plan.height:.1f} mm with {spec.memory.stacks} stacks",
    )
    return Markup(picture + key(plan, spec))


def _die(plan: Floorplan, x0: float, y0: float) -> list[Markup]:
    """The blocks of one die, its lower left corner at the lower left of (x0, y0)."""
    shapes = [_rect(x0, y0, plan.width, plan.height, style="fill:var(--hair)")]
    blocks = (*(b for b in plan.blocks if b.kind != "core"), *plan.parts)
    shapes.extend(_block(b, plan, x0, y0) for b in blocks)
    shapes.append(_rect(x0, y0, plan.width, plan.height, class_="outline"))
    return shapes


def _block(b: Rectangle, plan: Floorplan, x0: float, y0: float) -> Markup:
    gap = min(0.06, b.width / 8, b.height / 8)
    shape = _rect(
        x0 + b.x + gap / 2,
        y0 + plan.height - b.y - b.height + gap / 2,
        b.width - gap,
        b.height - gap,
        style=f"fill:var(--{TINTS.get(b.kind, 'r6')})",
    )
    return shape


def _stacks(count: int, x: float, middle: float, spec: ChipSpec) -> list[Markup]:
    shapes = []
    for i in range(count):
        y = middle - count * STACK / 2 + i * STACK
        shapes.append(
            _rect(
                x + 0.15,
                y + 0.15,
                STACK - 0.3,
                STACK - 0.3,
                style="fill:var(--panel);stroke:var(--line);stroke-width:.1",
            )
        )
        shapes.append(_label(x + STACK / 2, y + STACK / 2, spec.memory.kind.upper(), 1.3, "middle"))
        words = f"{spec.memory.gibibytes_per_stack} GiB"
        shapes.append(_label(x + STACK / 2, y + STACK / 2 + 1.8, words, 1.1, "middle", "dim"))
    return shapes


def key(plan: Floorplan, spec: ChipSpec) -> Markup:
    """Colours with the area of each kind of block on one die."""
    total: dict[str, float] = {}
    for b in (*plan.blocks, *plan.parts):
        if b.kind != "core":
            total[b.kind] = total.get(b.kind, 0.0) + b.area
    items = [
        tag("span", tag("i", style=f"background:var(--{TINTS[k]})"), f"{WORDS[k]} {mm2:.1f} mm²")
        for k, mm2 in sorted(total.items(), key=lambda item: -item[1])
    ]
    left = plan.width * plan.height - sum(total.values())
    items.append(tag("span", tag("i", style="background:var(--hair)"), f"mesh and whitespace {left:.1f} mm²"))
    return tag("div", items, class_="key")


def _rect(x: float, y: float, width: float, height: float, **attributes: object) -> Markup:
    return tag("rect", x=_n(x), y=_n(y), width=_n(width), height=_n(height), **attributes)


def _label(x: float, y: float, words: str, size: float, anchor: str, class_: str = "") -> Markup:
    return tag("text", words, x=_n(x), y=_n(y), font_size=_n(size), text_anchor=anchor, class_=class_ or None)


def _n(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
