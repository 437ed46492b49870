"""Where a search keeps what it has computed: one Parquet file per chunk, each written whole or not at all.

A chunk is a pure function of the question and of the chunks before it, so a search that was stopped at
any moment, by any means, continues from the chunks it finds and ends with the same result. Chunks belong
to one question, known by its fingerprint; those of another question are left alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.files import write_atomic

Table = dict[str, NDArray[Any]]  # column name → values, all of one length


def fingerprint(question: Mapping[str, Any]) -> str:
    """A name for a question: equal questions have equal names (SHA-256 of its JSON)."""
    written = json.dumps(question, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(written.encode()).hexdigest()[:16]


def to_parquet(table: Table, metadata: Mapping[str, str] | None = None) -> bytes:
    """`table` as the bytes of a Parquet file (zstd). Strings, booleans, integers and floats."""
    from arro3.core import Array, DataType
    from arro3.core import Table as ArrowTable
    from arro3.io import write_parquet

    def column(values: NDArray[Any]) -> Any:
        if values.dtype.kind in "UO":
            return Array([str(v) for v in values], type=DataType.utf8())
        return Array.from_numpy(np.ascontiguousarray(values))

    buffer = io.BytesIO()
    arrow = ArrowTable.from_pydict({name: column(np.asarray(v)) for name, v in table.items()})
    write_parquet(arrow, buffer, compression="zstd(3)", key_value_metadata=dict(metadata or {}))
    return buffer.getvalue()


def from_parquet(path: Path) -> Table:
    """The columns of a Parquet file. Raises OSError or ValueError if it is not a whole one."""
    from arro3.io import read_parquet

    # The reader aborts on a file that ends early; a Parquet file begins and ends with its mark.
    with path.open("rb") as f:
        head = f.read(4)
        f.seek(0, io.SEEK_END)
        size = f.tell()
        f.seek(max(size - 8, 0))
        tail = f.read()
    footer = int.from_bytes(tail[:4], "little")
    if head != b"PAR1" or tail[4:] != b"PAR1" or size < 12 + footer:
        raise ValueError(f"{path}: not a whole Parquet file")
    try:
        arrow = read_parquet(str(path)).read_all()
    except BaseException as e:
        if isinstance(e, OSError | KeyboardInterrupt | MemoryError):
            raise
        raise ValueError(f"{path}: {e}") from None
    table: Table = {}
    for name in arrow.column_names:
        values = arrow.column(name)
        kind = str(values.type)
        table[name] = np.array(values.to_pylist()) if "Utf8" in kind or "Bool" in kind else values.to_numpy()
    return table


def concatenate(tables: Sequence[Table]) -> Table:
    """The rows of all tables, in order; all have the columns of the first."""
    if not tables:
        return {}
    return {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}


class Store:
    """The chunks of one question, in a folder of their own."""

    def __init__(self, folder: Path, question: Mapping[str, Any]) -> None:
        self.fingerprint = fingerprint(question)
        self.folder = folder / ".search" / self.fingerprint
        self._question = question

    def path(self, index: int) -> Path:
        """The file of chunk `index`."""
        return self.folder / f"chunk-{index:05d}.parquet"

    def get(self, index: int, rows: int) -> Table | None:
        """Chunk `index` if it was finished earlier and is whole, else None."""
        path = self.path(index)
        if not path.is_file():
            return None
        try:
            table = from_parquet(path)
        except (OSError, ValueError):
            return None
        return table if table and all(len(v) == rows for v in table.values()) else None

    def put(self, index: int, table: Table) -> None:
        """Keep chunk `index`. Raises TapeoutError, in one line, if it cannot be written."""
        if not self.folder.exists():
            question = json.dumps(self._question, sort_keys=True, indent=1, default=str)
            write_atomic(self.folder / "question.json", question)
        write_atomic(self.path(index), to_parquet(table))

    def clear(self) -> None:
        """Forget the chunks: the search is complete and its results are elsewhere."""
        self.forget(self.folder.parent.parent, self.fingerprint)

    @staticmethod
    def forget(folder: Path, fingerprint: str) -> None:
        """Remove the chunks of one question from `folder`, and with the last of them their folder."""
        if not fingerprint:
            return
        parent = folder / ".search"
        shutil.rmtree(parent / fingerprint, ignore_errors=True)
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()
