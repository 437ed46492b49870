"""Pages: self-contained, and no text of a user can become markup or script."""

import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.report.markup import Markup, script_json, tag, text
from tapeout.report.numbers import figures, ranged, si, times
from tapeout.report.page import Page, Tile, badge, callout, chart_figure, fold, group_row, table, tiles

HOSTILE = (
    "<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", "\"><svg/onload=alert(1)>", "' onclick='x",
    "<!-- --><!--", "&lt;b&gt;", "{{7*7}}", "\u2028\u2029", "]]>",
)  # fmt: skip


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text of the page outside scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((name, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page_of(words: str) -> str:
    page = Page(words, lead=words, verdict=words, footer=words)
    page.section(
        words,
        table([words], [[words]], caption=words),
        tiles([Tile(words, words, words, words)]),
        callout(words),
        badge(words),
        fold(words, words),
        chart_figure("c", [(words, {"title": words}), (words, {})], caption=words, label=words),
        lead=words,
        id="s",
    )
    return page.render()


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_text_stays_text(words: str) -> None:
    plain, hostile = Elements(page_of("plain")), Elements(page_of(words))
    assert [name for name, _ in plain.found] == [name for name, _ in hostile.found]
    assert not any(k.startswith("on") for _, attributes in hostile.found for k in attributes)


@given(st.text())
def test_text_is_shown_as_it_is(words: str) -> None:
    shown = "".join(Elements(str(tag("p", words))).words)
    assert shown == words.replace("\r\n", "\n").replace("\r", "\n") or shown == words


LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()


@given(st.recursive(LEAVES, lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_json_survives_and_cannot_end_its_element(value: object) -> None:
    written = script_json(value)
    assert json.loads(written) == value
    assert not re.search(r"[<>&\u2028\u2029]", written)


def test_json_of_arrays_and_of_what_json_lacks() -> None:
    assert json.loads(script_json({"a": np.array([1.5, math.nan, math.inf]), "b": np.int64(3)})) == {
        "a": [1.5, None, None],
        "b": 3,
    }


def test_nothing_refers_to_the_network() -> None:
    page = page_of("x")
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", page)
    assert "default-src 'none'" in page
    links = [a["href"] for name, a in Elements(page).found if name == "a"]
    assert links == ["#s"]


def test_tag_attributes() -> None:
    assert tag("rect", class_="a", stroke_width=2, hidden=True, id=None, x='"') == Markup(
        '<rect class="a" stroke-width="2" hidden x="&quot;"/>'
    )
    assert text([1, None, Markup("<b>"), ["<"]]) == "1<b>&lt;"
    assert "colspan" in group_row("g", 3)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (4.8e12, "4.80 TB"),
        (999.6, "1.00 kB"),
        (0.0075, "7.50 mB"),
        (0, "0 B"),
        (math.nan, "–"),
        (-2500, "-2.50 kB"),
    ],
)
def test_si(value: float, written: str) -> None:
    assert si(value, "B") == written


@given(st.floats(1e-5, 1e14))
def test_figures_reads_back(value: float) -> None:
    assert float(figures(value).replace("\u202f", "")) == pytest.approx(value, rel=0.006)


def test_times_and_ranges() -> None:
    assert times(2.44) == "2.4×" and times(math.inf) == "–"
    assert ranged("1", "1", "1") == "1" and "0.5 – 2" in ranged("1", "0.5", "2")
