"""The page builder: one self-contained HTML file, its style, charts and scripts inside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from tapeout.report.markup import Content, Markup, script_json, tag, text


@dataclass
class Page:
    """A page in the making. Every string given to it is text and is escaped, unless it is `Markup`."""

    title: str
    lead: Content = None
    verdict: Content = None
    sections: list[tuple[str, str, Markup]] = field(default_factory=list)
    footer: Content = None

    def section(self, title: str, *content: Content, lead: Content = None, id: str = "") -> None:
        """Add a section; it is listed in the contents beside the page."""
        anchor = id or re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        body = text([tag("p", lead, class_="lead") if lead is not None else None, content])
        self.sections.append((anchor, title, body))

    def render(self) -> str:
        """The whole document. Nothing in it refers to the network."""
        contents = tag("ol", [tag("li", tag("a", title, href=f"#{a}")) for a, title, _ in self.sections])
        body = [tag("section", tag("h2", title), content, id=a) for a, title, content in self.sections]
        charts = any('class="chart"' in content for _, _, content in self.sections)
        return "\n".join(
            [
                "<!DOCTYPE html>",
                '<html lang="en">',
                "<head>",
                '<meta charset="utf-8">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                # A report carries text of its user's files; even a slip in escaping could not reach out.
                '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
                " style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">",
                tag("title", self.title),
                f"<style>{_asset('static/report.css')}</style>",
                "</head>",
                "<body>",
                '<div class="shell">',
                tag(
                    "nav",
                    tag("p", "tapeout", class_="brand"),
                    contents,
                    tag("button", "Light / dark", id="theme", type="button"),
                    class_="contents",
                ),
                "<main>",
                tag(
                    "header",
                    tag("h1", self.title),
                    tag("p", self.lead) if self.lead is not None else None,
                    tag("p", self.verdict, class_="verdict") if self.verdict is not None else None,
                    class_="title",
                ),
                *body,
                tag("footer", self.footer) if self.footer is not None else "",
                "</main>",
                "</div>",
                f"<script>{_asset('vendor/echarts.min.js')}</script>" if charts else "",
                f"<script>{_asset('static/report.js')}</script>",
                "</body>",
                "</html>",
                "",
            ]
        )


def _asset(name: str) -> str:
    content = files("tapeout.report").joinpath(name).read_text(encoding="utf-8")
    if re.search(r"</(script|style)", content, re.IGNORECASE):
        raise ValueError(f"{name} would end the element that holds it")
    return content


@dataclass(frozen=True)
class Tile:
    """One figure at the top of a section: label, value with unit, and what to compare it with."""

    label: Content
    value: Content
    unit: str = ""
    note: Content = None
    tone: str = ""  # "", good or bad


def tiles(items: Iterable[Tile]) -> Markup:
    """A row of figures."""
    return tag(
        "div",
        [
            tag(
                "div",
                tag("div", t.label, class_="label"),
                tag("div", t.value, tag("small", t.unit) if t.unit else None, class_="value"),
                tag("div", t.note, class_=f"note {t.tone}".strip()) if t.note is not None else None,
                class_="tile",
            )
            for t in items
        ],
        class_="tiles",
    )


def table(
    heads: Sequence[Content],
    rows: Iterable[Sequence[Content] | Markup],
    *,
    numeric: Iterable[int] = (),
    ours: Iterable[int] = (),
    caption: Content = None,
) -> Markup:
    """A table; columns `numeric` are right-aligned, rows `ours` (counted as given) are marked."""
    right, marked = set(numeric), set(ours)

    def cells(name: str, row: Sequence[Content]) -> list[Markup]:
        return [tag(name, c, class_="n" if i in right else None) for i, c in enumerate(row)]

    body = [
        row
        if isinstance(row, Markup)
        else tag("tr", cells("td", row), class_="ours" if i in marked else None)
        for i, row in enumerate(rows)
    ]
    whole = tag(
        "table",
        tag("caption", caption) if caption is not None else None,
        tag("thead", tag("tr", cells("th", heads))),
        tag("tbody", body),
    )
    return tag("div", whole, class_="scroll")


def group_row(title: Content, columns: int) -> Markup:
    """A row that heads the rows after it."""
    return tag("tr", tag("th", title, colspan=columns), class_="group")


def badge(kind: str) -> Markup:
    """Where a number comes from: synthesised, measured, scaled, literature or assumption."""
    safe = kind if re.fullmatch(r"[a-z]+", kind) else ""
    return tag("span", kind, class_=f"badge {safe}".strip())


def callout(*content: Content, tone: str = "") -> Markup:
    """A boxed remark; tone is empty, good or bad."""
    return tag("div", [tag("p", c) for c in content], class_=f"callout {tone}".strip())


def fold(title: Content, *content: Content) -> Markup:
    """Detail that starts closed."""
    return tag("details", tag("summary", title), content)


def chart_figure(
    id: str,
    variants: Sequence[tuple[str, dict[str, object]]],
    *,
    caption: Content = None,
    height: int = 380,
    canvas: bool = False,
    label: str = "",
) -> Markup:
    """A chart with its caption. `variants`: (name, ECharts option); several get a menu."""
    menu = None
    if len(variants) > 1:
        options = [tag("option", name, value=i) for i, (name, _) in enumerate(variants)]
        menu = tag("div", tag("label", label, for_=f"{id}-pick"), tag("select", options, id=f"{id}-pick"))
        menu = Markup(menu.replace("<div>", '<div class="picker">', 1))
    holder = tag(
        "div",
        id=id,
        class_="chart",
        style=f"height:{int(height)}px",
        data_renderer="canvas" if canvas else None,
    )
    data = Markup(f'<script type="application/json">{script_json([o for _, o in variants])}</script>')
    return tag("figure", menu, holder, data, tag("figcaption", caption) if caption is not None else None)
