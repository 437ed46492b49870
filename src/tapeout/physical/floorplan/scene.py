"""A drawing as a list of shapes, independent of the file it becomes; and its SVG.

Coordinates are pixels, y downwards. Colours are names: in an SVG that stands alone they follow the reader's light or
dark setting, in a page that defines them (`--ink`, `--r1`, …) they are the page's.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# name: (light, dark)
COLOURS: dict[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#121417"), "panel": ("#f6f7f9", "#1a1d21"), "ink": ("#16191d", "#e7eaee"),
    "soft": ("#5b6470", "#9aa4b0"), "line": ("#dfe3e8", "#2e343b"), "hair": ("#eceff2", "#23282e"),
    "muted": ("#9aa4b0", "#6b7683"),
    "r1": ("#0b63ce", "#6aaefc"), "r2": ("#d9730d", "#f0a35b"), "r3": ("#16866b", "#4cc3a3"),
    "r4": ("#8e4ec6", "#bf93ec"), "r5": ("#c2385a", "#ee7f9b"), "r6": ("#6b7683", "#9aa4b0"),
    "r7": ("#a38213", "#d8bb4f"), "r8": ("#2f95a8", "#66c5d6"),
}  # fmt: skip
FONT = 'system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans",Arial,sans-serif'


@dataclass(frozen=True)
class Box:
    """A rectangle. `fill` and `stroke` are colour names or None; `dash`: length of dashes, 0 for a full line."""

    x: float
    y: float
    width: float
    height: float
    fill: str | None = None
    stroke: str | None = None
    thickness: float = 1.0
    opacity: float = 1.0
    dash: float = 0.0
    mark: str = ""  # class in the SVG


@dataclass(frozen=True)
class Line:
    """A straight line."""

    x0: float
    y0: float
    x1: float
    y1: float
    stroke: str = "soft"
    thickness: float = 1.0
    opacity: float = 1.0


@dataclass(frozen=True)
class Text:
    """One line of text; `y` is its baseline. `anchor`: start, middle or end. `turned`: reads upwards."""

    x: float
    y: float
    words: str
    size: float = 14.0
    fill: str = "ink"
    anchor: str = "start"
    bold: bool = False
    turned: bool = False


@dataclass(frozen=True)
class Use:
    """A copy of the shapes called `name`, moved by (x, y)."""

    name: str
    x: float
    y: float


Shape = Box | Line | Text | Use


@dataclass
class Scene:
    """A drawing of a size, its shapes in the order they are painted, and groups that `Use` repeats."""

    width: float
    height: float
    about: str
    shapes: list[Shape] = field(default_factory=list)
    groups: dict[str, list[Shape]] = field(default_factory=dict)

    def add(self, *shapes: Shape) -> None:
        """Paint these on top."""
        self.shapes.extend(shapes)

    def expanded(self) -> Iterable[Box | Line | Text]:
        """Every shape, with those that are repeated in their places."""
        for shape in self.shapes:
            if not isinstance(shape, Use):
                yield shape
                continue
            for one in self.groups[shape.name]:
                yield moved(one, shape.x, shape.y)

    def svg(self, alone: bool = True, prefix: str = "fp") -> str:
        """The SVG. `alone`: with its own colours and background, for a file; otherwise for a page that has them.
        `prefix`: of the identifiers in it, which must be unique on a page."""
        names = {name: f"{prefix}-{i}" for i, name in enumerate(self.groups)}
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="floorplan" viewBox="0 0 {_n(self.width)} '
            f'{_n(self.height)}" role="img" aria-label="{html.escape(self.about, quote=True)}" '
            f"style='display:block;width:100%;height:auto;max-width:{_n(self.width)}px;font-family:{FONT}'"
            + (f' width="{_n(self.width)}" height="{_n(self.height)}">' if alone else ">")
        ]
        if alone:
            light = ";".join(f"--{k}:{v[0]}" for k, v in COLOURS.items())
            dark = ";".join(f"--{k}:{v[1]}" for k, v in COLOURS.items())
            lines.append(
                f"<style>svg{{{light}}}@media(prefers-color-scheme:dark){{svg{{{dark}}}}}</style>"
                f'<rect width="100%" height="100%" style="{_paint("fill", "paper")}"/>'
            )
        if self.groups:
            lines.append("<defs>")
            for name, shapes in self.groups.items():
                lines.append(f'<g id="{names[name]}">' + "".join(_svg(s, names) for s in shapes) + "</g>")
            lines.append("</defs>")
        lines += [_svg(s, names) for s in self.shapes]
        return "\n".join([*lines, "</svg>"]) + "\n"


def moved(shape: Shape, dx: float, dy: float) -> Box | Line | Text:
    """The same elsewhere. Groups do not hold other groups."""
    if isinstance(shape, Box):
        return Box(
            shape.x + dx, shape.y + dy, shape.width, shape.height, shape.fill, shape.stroke, shape.thickness,
            shape.opacity, shape.dash, shape.mark,
        )  # fmt: skip
    if isinstance(shape, Line):
        return Line(
            shape.x0 + dx, shape.y0 + dy, shape.x1 + dx, shape.y1 + dy, shape.stroke, shape.thickness, shape.opacity
        )  # fmt: skip
    if isinstance(shape, Text):
        return Text(
            shape.x + dx, shape.y + dy, shape.words, shape.size, shape.fill, shape.anchor, shape.bold, shape.turned
        )  # fmt: skip
    raise TypeError("a group within a group")


def width_of(words: str, size: float) -> float:
    """An upper estimate of the width of text, in the unit of `size`."""
    return size * sum(0.9 if c in "mwMW" else 0.58 for c in words)


def _svg(shape: Shape, names: Mapping[str, str]) -> str:
    if isinstance(shape, Use):
        return f'<use href="#{names[shape.name]}" x="{_n(shape.x)}" y="{_n(shape.y)}"/>'
    if isinstance(shape, Box):
        style = _paint("fill", shape.fill) + (_paint("stroke", shape.stroke) if shape.stroke else "")
        more = f' stroke-width="{_n(shape.thickness)}"' if shape.stroke else ""
        more += f' fill-opacity="{_n(shape.opacity)}"' if shape.opacity < 1 else ""
        more += f' stroke-dasharray="{_n(shape.dash)} {_n(shape.dash * 0.8)}"' if shape.dash else ""
        more += f' class="{shape.mark}"' if shape.mark else ""
        at = f'x="{_n(shape.x)}" y="{_n(shape.y)}" width="{_n(shape.width)}" height="{_n(shape.height)}"'
        return f'<rect {at} style="{style}"{more}/>'
    if isinstance(shape, Line):
        at = f'x1="{_n(shape.x0)}" y1="{_n(shape.y0)}" x2="{_n(shape.x1)}" y2="{_n(shape.y1)}"'
        opacity = f' stroke-opacity="{_n(shape.opacity)}"' if shape.opacity < 1 else ""
        return f'<line {at} style="{_paint("stroke", shape.stroke)}" stroke-width="{_n(shape.thickness)}"{opacity}/>'
    turn = f' transform="rotate(-90 {_n(shape.x)} {_n(shape.y)})"' if shape.turned else ""
    weight = ' font-weight="600"' if shape.bold else ""
    return (
        f'<text x="{_n(shape.x)}" y="{_n(shape.y)}" style="{_paint("fill", shape.fill)}font-size:{_n(shape.size)}px" '
        f'text-anchor="{shape.anchor}"{weight}{turn}>{html.escape(shape.words)}</text>'
    )


def _paint(what: str, name: str | None) -> str:
    return f"{what}:none;" if name is None else f"{what}:var(--{name},{COLOURS[name][0]});"


def _n(value: float) -> str:
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
