"""Chunks: whole or absent, and never of another question."""

from pathlib import Path

import numpy as np
import pytest

from tapeout.errors import TapeoutError
from tapeout.search.store import Store, concatenate, fingerprint, from_parquet, to_parquet


def sample(n: int = 5) -> dict[str, np.ndarray]:
    return {
        "index": np.arange(n),
        "node": np.array(["N3E", "N5", "<&>", "", "é"][:n]),
        "fits": np.arange(n) % 2 == 0,
        "watts": np.array([1.5, np.nan, np.inf, -0.0, 1e-30][:n], dtype=np.float32),
    }


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return list(a) == list(b) and all(np.array_equal(a[k], b[k], equal_nan=a[k].dtype.kind == "f") for k in a)


def test_round_trip_is_exact(tmp_path: Path) -> None:
    store = Store(tmp_path, {"model": "m"})
    store.put(3, sample())
    found = store.get(3, rows=5)
    assert found is not None and same(found, sample())
    assert store.get(2, rows=5) is None
    assert store.get(3, rows=6) is None  # not the chunk it was taken for


def test_the_same_table_is_the_same_bytes() -> None:
    assert to_parquet(sample()) == to_parquet(sample())


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_broken_chunk_is_no_chunk(tmp_path: Path, keep: int) -> None:
    store = Store(tmp_path, {})
    store.put(0, sample())
    path = store.path(0)
    path.write_bytes(path.read_bytes()[:keep])
    assert store.get(0, rows=5) is None
    with pytest.raises((OSError, ValueError)):
        from_parquet(path)


def test_questions_do_not_share_chunks(tmp_path: Path) -> None:
    one, other = Store(tmp_path, {"seed": 1}), Store(tmp_path, {"seed": 2})
    one.put(0, sample())
    assert other.get(0, rows=5) is None
    other.put(0, sample())
    other.clear()
    assert one.get(0, rows=5) is not None
    one.clear()
    assert list(tmp_path.iterdir()) == []


def test_fingerprint_depends_on_content_not_on_order() -> None:
    assert fingerprint({"a": 1, "b": [2.5]}) == fingerprint({"b": [2.5], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / ".search").write_text("a file is in the way")
    with pytest.raises(TapeoutError) as told:
        Store(tmp_path, {}).put(0, sample())
    assert "\n" not in str(told.value)


def test_concatenate() -> None:
    whole = concatenate([sample(2), sample(3)])
    assert len(whole["index"]) == 5 and whole["node"].tolist() == ["N3E", "N5", "N3E", "N5", "<&>"]
