"""Text to tokens and back: exact round trips, streams that join to the whole, markers nobody can forge."""

from __future__ import annotations

import builtins
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.errors import InputError, MissingDependency
from tapeout.model import demo
from tapeout.model.checkpoint import harmony
from tapeout.model.checkpoint.tokenizer import Tokenizer

pytest.importorskip("tokenizers")
TOKENIZER = Tokenizer(demo.FOLDER)
TEXTS = st.text(max_size=40) | st.lists(
    st.sampled_from([*TOKENIZER.special, "God ", "é", "😀", "漢", "\n", "<|", "|>", "start"]), max_size=8
).map("".join)


@given(text=TEXTS)
@settings(max_examples=300, deadline=None)
def test_round_trip_without_forged_markers(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == text
    assert not set(ids) & set(TOKENIZER.special.values())
    assert all(0 <= i < TOKENIZER.vocabulary for i in ids)


@given(text=TEXTS)
@settings(max_examples=300, deadline=None)
def test_the_pieces_of_a_stream_join_to_the_text(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    stream = TOKENIZER.stream()
    pieces = [stream.push(i) for i in TOKENIZER.encode(text)]
    assert "".join(pieces) + stream.finish() == text


@given(ids=st.lists(st.integers(0, 1023), max_size=40))
@settings(max_examples=300, deadline=None)
def test_a_stream_of_any_tokens_joins_to_their_text(ids: list[int]) -> None:
    """Invalid UTF-8 too: replacement characters may fall differently, all else is the same."""
    stream = TOKENIZER.stream()
    text = "".join([*(stream.push(i) for i in ids), stream.finish()])
    assert text.replace("�", "") == TOKENIZER.decode(ids).replace("�", "")


def test_a_character_comes_out_with_its_last_token() -> None:
    stream = TOKENIZER.stream()
    pieces = [stream.push(i) for i in TOKENIZER.encode("a😀b")]
    assert "�" not in "".join(pieces) and "😀" in pieces


def test_markers_are_read_where_asked() -> None:
    ids = TOKENIZER.encode("<|start|>user<|message|>x", special=True)
    assert ids[0] == TOKENIZER.token("<|start|>")
    assert TOKENIZER.decode(ids) == "userx"
    assert TOKENIZER.decode(ids, special=True) == "<|start|>user<|message|>x"
    assert TOKENIZER.token("<|nonsense|>") is None


def test_tokens_that_end_a_text() -> None:
    assert TOKENIZER.eos == {TOKENIZER.token(m) for m in ("<|return|>", "<|endoftext|>", "<|call|>")}


def test_what_a_tokenizer_adds_to_every_text(tmp_path: Path) -> None:
    """A begin-of-text token from the post-processor, as in Llama 3, comes before the prompt and only there."""
    table = json.loads((demo.FOLDER / "tokenizer.json").read_text())
    table["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|startoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|startoftext|>": {"id": "<|startoftext|>", "ids": [0], "tokens": ["<|startoftext|>"]}},
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(table))
    tokenizer = Tokenizer(tmp_path)
    assert tokenizer.eos == frozenset()
    assert tokenizer.encode("In") == [0, *tokenizer.plain("In")]
    assert tokenizer.encode("") == [0]
    assert tokenizer.encode("<|start|>x").count(0) == 1


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"model": 1}', "\x00", '{"version": "1.0", "model": null}']
)
def test_a_malformed_tokenizer_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(InputError) as e:
        Tokenizer(tmp_path)
    assert str(e.value).startswith(str(tmp_path / "tokenizer.json")) and "\n" not in str(e.value)


def test_a_damaged_tokenizer_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    rng = random.Random(0)
    whole = (demo.FOLDER / "tokenizer.json").read_bytes()
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        (tmp_path / "tokenizer.json").write_bytes(
            damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])]
        )
        try:
            other = Tokenizer(tmp_path)
        except InputError as e:
            assert "\n" not in str(e)
        else:
            assert isinstance(other.decode(other.encode("In the beginning <|start|> é")), str)


def test_a_missing_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing there"):
        Tokenizer(tmp_path)


@pytest.mark.parametrize("value", ["x", -1, 1.5, [1, None], True, {}])
def test_bad_end_tokens(value: Any, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text((demo.FOLDER / "tokenizer.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": value}))
    with pytest.raises(InputError, match="eos_token_id"):
        Tokenizer(tmp_path)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "tokenizers":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependency, match=r"tapeout\[run\]"):
        Tokenizer(demo.FOLDER)


def test_a_conversation_as_gpt_oss_publishes_it() -> None:
    ids = harmony.encode(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi <|end|>"}]},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "More"},
        ],
        TOKENIZER,
        system="You are a model.",
    )
    assert TOKENIZER.decode(ids, special=True) == (
        "<|start|>system<|message|>You are a model.<|end|>"
        "<|start|>developer<|message|># Instructions\n\nBe brief.<|end|>"
        "<|start|>user<|message|>Hi <|end|><|end|>"
        "<|start|>assistant<|channel|>final<|message|>Hello.<|end|>"
        "<|start|>user<|message|>More<|end|><|start|>assistant"
    )
    assert ids.count(TOKENIZER.token("<|end|>")) == 5  # the user's own is text


@pytest.mark.torch
def test_the_chat_template_of_the_demo_renders_the_same() -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(demo.FOLDER)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "And God said"},
        {"role": "assistant", "content": " yes"},
        {"role": "user", "content": "And Moses"},
    ]
    rendered = theirs.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert rendered == TOKENIZER.decode(harmony.encode(messages, TOKENIZER), special=True)
    assert theirs("And God said, Let there be light.").input_ids == TOKENIZER.encode(
        "And God said, Let there be light."
    )


@pytest.mark.parametrize(
    "message",
    [{"role": "tool", "content": "x"}, {"content": "x"}, {"role": "user", "content": None}, {"role": "user"},
     {"role": "user", "content": [{"type": "image_url"}]}, {"role": [], "content": "x"}],
)  # fmt: skip
def test_a_message_that_cannot_be_rendered(message: Any) -> None:
    with pytest.raises(InputError, match=r"messages\[0\]"):
        harmony.encode([message], TOKENIZER)


def test_an_answer_by_channel() -> None:
    text = (
        "<|channel|>analysis<|message|>Think 😀.<|end|><|start|>assistant<|channel|>commentary to=f<|message|>{}"
        "<|call|><|start|>assistant<|channel|>final<|message|>Light é<|return|>"
    )
    ids = TOKENIZER.encode(text, special=True)
    assert harmony.split(ids, TOKENIZER) == harmony.Answer("Light é", "Think 😀.", "{}")
    stream = harmony.AnswerStream(TOKENIZER)
    pieces = [stream.push(i) for i in ids]
    assert "".join(p for channel, p in pieces if channel == "final") == "Light é"


def test_any_tokens_make_an_answer() -> None:
    rng = random.Random(0)
    for _ in range(200):
        harmony.split(rng.choices(range(12), k=20), TOKENIZER)


def test_markers_are_needed(tmp_path: Path) -> None:
    table = json.loads((demo.FOLDER / "tokenizer.json").read_text())
    table["added_tokens"] = []
    table["model"]["vocab"] = {k.replace("<|start|>", "<?>"): v for k, v in table["model"]["vocab"].items()}
    (tmp_path / "tokenizer.json").write_text(json.dumps(table))
    other = Tokenizer(tmp_path)
    assert harmony.supported(TOKENIZER) and not harmony.supported(other)
    with pytest.raises(InputError, match="start"):
        harmony.encode([], other)


def test_the_system_prompt() -> None:
    from datetime import date

    prompt = harmony.system_prompt(date(2025, 8, 5), "high")
    assert "Current date: 2025-08-05" in prompt and "Reasoning: high" in prompt and "Valid channels" in prompt
