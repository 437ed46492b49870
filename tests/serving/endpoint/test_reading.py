"""Stop strings and streams of text, over every way to cut a text into pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tapeout.model import demo
from tapeout.model.checkpoint.tokenizer import Tokenizer
from tapeout.serving.endpoint.reading import HarmonyReader, PlainReader, StopText

ALPHABET = st.text(alphabet="ab ", max_size=30)


def plain_cut(text: str, stops: list[str], include: bool) -> tuple[str, str | None]:
    """The definition: the text grows by a character at a time until it contains a stop string."""
    for end in range(1, len(text) + 1):
        found = [(text[:end].index(s), -len(s), s) for s in stops if s in text[:end]]
        if found:
            start, _, stop = min(found)
            return text[: start + len(stop) * include], stop
    return text, None


@given(ALPHABET, st.lists(st.text(alphabet="ab ", min_size=1, max_size=4), max_size=4), st.booleans())
def test_stop_strings_cut_where_the_definition_does(text: str, stops: list[str], include: bool) -> None:
    reader = StopText(tuple(stops), include)
    shown = "".join(reader.push(c) for c in text)
    shown += reader.finish() if reader.found is None else ""
    assert (shown, reader.found) == plain_cut(text, stops, include)


@given(st.lists(ALPHABET, max_size=8), st.lists(st.text(alphabet="ab ", min_size=1, max_size=4), max_size=4))
def test_what_is_shown_never_holds_a_stop_and_is_never_taken_back(
    pieces: list[str], stops: list[str]
) -> None:
    reader, text = StopText(tuple(stops)), "".join(pieces)
    shown = ""
    for piece in pieces:
        shown += reader.push(piece)
        assert text.startswith(shown) and not any(s in shown for s in stops)
    shown += reader.finish()
    assert shown == text if reader.found is None else text.startswith(shown + reader.found)


@given(st.lists(st.integers(0, 1023), max_size=40))
def test_any_tokens_read_plainly_are_their_text(tokens: list[int]) -> None:
    tokenizer = Tokenizer(demo.FOLDER)
    reader = PlainReader(tokenizer, (), False, special=False)
    pieces = [text for t in tokens for _, text in reader.push(t)] + [text for _, text in reader.finish()]
    assert "".join(pieces) == tokenizer.decode(tokens)


@given(st.lists(st.integers(0, 1023), max_size=40), st.lists(st.text(min_size=1, max_size=3), max_size=2))
def test_any_tokens_read_as_harmony_show_no_marker(tokens: list[int], stops: list[str]) -> None:
    reader = HarmonyReader(Tokenizer(demo.FOLDER), tuple(stops), False)
    pieces = [p for t in tokens for p in reader.push(t)] + reader.finish()
    assert {channel for channel, _ in pieces} <= {"final", "analysis"}
    assert "<|" not in "".join(text for _, text in pieces)
