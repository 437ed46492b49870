"""Files are written whole or not at all, and whatever is wrong with a read is one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout import files
from tapeout.errors import InputError, TapeoutError
from tapeout.fields import Fields


def test_failed_write_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "summary.json"
    files.write_atomic(target, "first")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TapeoutError, match=r"No space left on device; earlier results are intact$"):
        files.write_atomic(target, "second")
    assert target.read_text() == "first"
    assert os.listdir(tmp_path) == ["summary.json"]


@pytest.mark.parametrize(
    "text, complaint",
    [
        ('{"a": ', "line 1 column 7"),
        ("[1, 2]", "a JSON object"),
        ('{"a": NaN}', "no NaN"),
        ('{"a": 1, "a": 2}', "each key once"),
        ("[" * 100_000, "valid JSON"),
        ('{"a": ' + "9" * 5000 + "}", "valid JSON"),
        ("", "valid JSON"),
    ],
)
def test_bad_json_is_one_line(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        files.parse_json(text, "config.json")
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_read_as_json_or_fail_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, blob: bytes
) -> None:
    path = tmp_path_factory.mktemp("json") / "config.json"
    path.write_bytes(blob)
    try:
        assert isinstance(files.read_json(path), dict)
    except InputError as e:
        assert "\n" not in str(e) and len(str(e)) < 400


def test_absent_folder_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing there"):
        files.read_text(tmp_path / "absent")
    with pytest.raises(InputError, match="a folder"):
        files.read_text(tmp_path)
    (tmp_path / "b").write_bytes(b"ok \xff")
    with pytest.raises(InputError, match="byte 3"):
        files.read_text(tmp_path / "b")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(anything)
def test_a_getter_returns_its_type_within_bounds_or_names_the_field(value: object) -> None:
    fields = Fields({"x": value}, "chip.toml", "core")
    for read, kind in (
        (fields.integer, int),
        (fields.number, float),
        (fields.text, str),
        (fields.boolean, bool),
    ):
        try:
            result = read("x")
            assert type(result) is kind
        except InputError as e:
            assert str(e).startswith("chip.toml: core.x: found ") and "\n" not in str(e) and len(str(e)) < 250


def test_bounds_defaults_and_unknown_fields() -> None:
    fields = Fields({"a": 3, "b": True, "c": 1e30, "typo": 1}, "chip.toml")
    assert fields.integer("a", low=1, high=3) == 3
    with pytest.raises(InputError, match="from 4 to 5"):
        fields.integer("a", low=4, high=5)
    with pytest.raises(InputError):
        fields.integer("b")  # true is not 1
    with pytest.raises(InputError):
        fields.number("c")
    assert fields.integer("absent", None) is None and fields.number("absent", 2.5) == 2.5
    with pytest.raises(InputError, match="typo: found an unknown field"):
        fields.done()
