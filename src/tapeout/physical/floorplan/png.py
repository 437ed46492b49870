"""A scene as PNG, through Pillow: light colours, the font that Pillow brings, so the same bytes everywhere."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

from tapeout.errors import MissingDependency
from tapeout.physical.floorplan.scene import COLOURS, Box, Line, Scene, Text

SCALE = 2  # pixels of the file for one of the scene
# The font has no such signs: how each is written instead, and whether it is raised.
SIGNS = {
    "²": ("2", True), "×": ("x", False), "–": ("-", False), "µ": ("u", False), "·": (",", False), "≤": ("<=", False),
}  # fmt: skip


def png(scene: Scene) -> bytes:
    """The PNG file. Raises MissingDependency without Pillow."""
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        raise MissingDependency("a PNG of the floorplan", "silicon") from None
    image = Image.new("RGB", (round(scene.width * SCALE), round(scene.height * SCALE)), COLOURS["paper"][0])
    draw = ImageDraw.Draw(image, "RGBA")
    for shape in scene.expanded():
        if isinstance(shape, Box):
            _box(draw, shape)
        elif isinstance(shape, Line):
            ends = [v * SCALE for v in (shape.x0, shape.y0, shape.x1, shape.y1)]
            draw.line(ends, _rgba(shape.stroke, shape.opacity), max(round(shape.thickness * SCALE), 1))
        else:
            _text(image, shape)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=False, compress_level=9)
    return out.getvalue()


def _rgba(name: str, opacity: float) -> tuple[int, int, int, int]:
    text = COLOURS[name][0]
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16), round(255 * opacity)


def _box(draw: Any, b: Box) -> None:
    x0, y0 = b.x * SCALE, b.y * SCALE
    x1, y1 = (b.x + b.width) * SCALE, (b.y + b.height) * SCALE
    # Pillow's far edge is inclusive; a box thinner than a pixel is one pixel.
    at = [round(x0), round(y0), max(round(x1) - 1, round(x0)), max(round(y1) - 1, round(y0))]
    if b.fill:
        draw.rectangle(at, fill=_rgba(b.fill, b.opacity))
    if b.stroke and not b.dash:
        draw.rectangle(at, outline=_rgba(b.stroke, 1.0), width=max(round(b.thickness * SCALE), 1))
    elif b.stroke:
        step, on = b.dash * SCALE * 1.8, b.dash * SCALE
        width = max(round(b.thickness * SCALE), 1)
        sides = ((y0, x0, x1, True), (y1, x0, x1, True), (x0, y0, y1, False), (x1, y0, y1, False))
        for fixed, low, high, flat in sides:
            t = low
            while t < high:
                end = min(t + on, high)
                ends = [t, fixed, end, fixed] if flat else [fixed, t, fixed, end]
                draw.line(ends, fill=_rgba(b.stroke, 1.0), width=width)
                t += step


@cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _text(image: Any, t: Text) -> None:
    from PIL import Image, ImageDraw

    size = max(round(t.size * SCALE), 6)
    runs: list[tuple[str, bool]] = []
    for c in t.words:
        piece, raised = SIGNS.get(c, (c if ord(c) < 127 else "?", False))
        if runs and runs[-1][1] == raised:
            runs[-1] = (runs[-1][0] + piece, raised)
        else:
            runs.append((piece, raised))
    fonts = [_font(round(size * 0.65) if raised else size) for _, raised in runs]
    widths = [f.getlength(words) for (words, _), f in zip(runs, fonts, strict=True)]
    tall = size * 2
    layer = Image.new("L", (int(sum(widths)) + 8, tall), 0)
    pen, x = ImageDraw.Draw(layer), 2.0
    for (words, raised), font, w in zip(runs, fonts, widths, strict=True):
        y = size * 1.5 - (size * 0.33 if raised else 0)
        for shift in (0.0, 0.6) if t.bold else (0.0,):
            pen.text((x + shift, y), words, fill=255, font=font, anchor="ls")
        x += w
    lead = {"start": 0.0, "middle": sum(widths) / 2, "end": sum(widths)}[t.anchor]
    left, up = lead + 2, size * 1.5
    if t.turned:
        layer = layer.transpose(Image.Transpose.ROTATE_90)
        at = (round(t.x * SCALE - up), round(t.y * SCALE + left - layer.height))
    else:
        at = (round(t.x * SCALE - left), round(t.y * SCALE - up))
    colour = Image.new("RGB", layer.size, _rgba(t.fill, 1.0)[:3])
    image.paste(colour, at, layer)
