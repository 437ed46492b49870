"""Cycles of the matrix engine against a schedule played tile by tile."""

from __future__ import annotations

from itertools import product
from math import ceil

import numpy as np
import pytest
from chip_cases import design
from hypothesis import given
from hypothesis import strategies as st

from tapeout.estimate.chip_constants import INTERLEAVE
from tapeout.estimate.chip_matrix import block_bytes_of, overhead_cycles, product_cycles


def played(rows: int, columns: int, cores: int, ways: int, m: int, n: int, k: int, products: int) -> int:
    """Cycles until the last core is done. Tiles are rows × (columns × ways) outputs. Where every core gets
    INTERLEAVE of them they are dealt to the core that has fewest; otherwise each group of INTERLEAVE goes to
    several cores that split its contraction. A core that has fewer to interleave idles in between."""
    blocks = ceil(k / 32)
    tiles = list(product(range(products), range(0, m, rows), range(0, n, columns * ways)))
    split = max(1, rows // m)  # row groups that each take a part of the contraction
    groups = [tiles[i : i + INTERLEAVE] for i in range(0, len(tiles), INTERLEAVE)]
    together = min(max(1, cores // len(groups)), blocks)
    steps = ceil(blocks / (split * together))
    if together > 1:
        return max(max(len(g), INTERLEAVE) * steps for g in groups)
    held = [0] * cores
    for _ in tiles:
        held[held.index(min(held))] += 1
    return max(max(h, INTERLEAVE) * steps for h in held)


@given(
    st.sampled_from([1, 4, 16]),
    st.sampled_from([1, 4, 16]),
    st.sampled_from([1, 3, 16]),
    st.sampled_from([1, 2]),
    st.integers(1, 70),
    st.integers(1, 300),
    st.integers(1, 1500),
    st.integers(1, 5),
)
def test_equal_to_the_played_schedule(
    rows: int, columns: int, cores: int, ways: int, m: int, n: int, k: int, products: int
) -> None:
    d = design(rows=rows, columns=columns, cores=cores, scratchpad_bytes_per_cycle=1e9)
    cycles, row_tiles = product_cycles(d, 1, ways, m, n, k, products, block_bytes_of("mxint8"))
    assert cycles == played(rows, columns, cores, ways, m, n, k, products)
    assert row_tiles == ceil(m / rows)


def test_a_large_product_reaches_the_peak() -> None:
    d = design()
    cycles, _ = product_cycles(d, 1, 1, 4096, 4096, 4096, 1, block_bytes_of("mxint8"))
    assert cycles == 4096 * 4096 * 4096 / (16 * 16 * 32 * 64)
    assert product_cycles(d, 1, 2, 4096, 4096, 4096, 1, block_bytes_of("mxfp4"))[0] == cycles / 2
    assert overhead_cycles(d) < 0.01 * cycles


def test_one_token_uses_all_rows_by_splitting_the_contraction() -> None:
    d = design(cores=1, scratchpad_bytes_per_cycle=1e9)
    one = product_cycles(d, 1, 1, 1, 64, 16 * 32 * 8, 1, block_bytes_of("mxint8"))[0]
    assert one == 4 * 8
    # … and the scratchpad has to deliver a block to every unit in every cycle, or they wait for it.
    slow = design(cores=1, scratchpad_bytes_per_cycle=16 * 16 * 33 / 4)
    assert product_cycles(slow, 1, 1, 1, 64, 16 * 32 * 8, 1, block_bytes_of("mxint8"))[0] == pytest.approx(
        4 * 32
    )


def test_designs_and_points_broadcast() -> None:
    d = design(rows=np.array([[4], [16]]), cores=np.array([[1], [64]]))
    cycles, _ = product_cycles(d, 1, 1, np.array([1, 7, 100]), 512, 2880, 1, 33.0)
    assert np.shape(cycles) == (2, 3)
    assert cycles[1, 2] == product_cycles(design(), 1, 1, 100, 512, 2880, 1, 33.0)[0]
