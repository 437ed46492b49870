"""Parquet tables of results."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tapeout.files import write_atomic


def write_table(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write equally long columns as one Parquet file, whole or not at all."""
    from arro3.core import Array, Table
    from arro3.io import write_parquet

    buffer = BytesIO()
    write_parquet(Table.from_pydict({k: Array.from_numpy(v) for k, v in columns.items()}), buffer)
    write_atomic(path, buffer.getvalue())
