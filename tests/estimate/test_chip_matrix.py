"""Cycles of the matrix engine against schedules played step by step."""

from __future__ import annotations

from itertools import product
from math import ceil

import numpy as np
import pytest
from chip_cases import design
from hypothesis import given
from hypothesis import strategies as st

from tapeout.chip.isa import geometry
from tapeout.estimate.chip_constants import INTERLEAVE
from tapeout.estimate.chip_matrix import block_bytes_of, overhead_cycles, product_cycles, tiles_of

INT8 = block_bytes_of("mxint8")
AMPLE = 1e15  # bytes a cycle: nobody waits for a bank


def one_core(rows: int, columns: int, m: int, n: int, k: int) -> int:
    """Cycles of one engine, step by step: for each group of rows, for each block of the contraction, the words
    of all outputs stream while the next block of each row loads; free rows take further blocks of the
    contraction along, which hides the adder's loop. Sums drain a row and word per cycle beside the next."""
    words, cycles, drained, most = ceil(n / columns), 0, 0, geometry.tiles_of(rows)
    for first in range(0, m, rows):
        height = min(rows, m - first)
        groups = max(1, rows // height)
        for block in range(0, ceil(k / 32), groups):
            here = min(groups, ceil(k / 32) - block)
            for tile in range(0, words, most):
                cycles += max(here * min(words - tile, most), here * height, INTERLEAVE)
        drained += height * words
    return max(cycles, drained)


@given(
    st.sampled_from([1, 4, 16]),
    st.sampled_from([1, 4, 16]),
    st.integers(1, 70),
    st.integers(1, 300),
    st.integers(1, 1500),
)
def test_one_core_equals_the_played_engine(rows: int, columns: int, m: int, n: int, k: int) -> None:
    d = design(rows=rows, columns=columns, cores=1, scratchpad_bytes_per_cycle=AMPLE)
    cycles, row_tiles = product_cycles(d, 1, 1, m, n, k, 1, INT8)
    exact = one_core(rows, columns, m, n, k)
    # A last group of fewer rows, and a last step of fewer blocks, count as whole ones here: that much more.
    words, blocks, groups = ceil(n / columns), ceil(k / 32), max(1, rows // m)
    commands = ceil(words / geometry.tiles_of(rows))
    partial = (commands * rows + words) * blocks + words * rows if m % rows and m > rows else 0
    assert exact * (1 - 1e-9) <= cycles + INTERLEAVE * groups
    assert cycles * (1 - 1e-9) <= exact + partial + (commands * (rows + INTERLEAVE) + words) * groups
    assert row_tiles == ceil(m / rows)


def test_accumulators_are_as_many_as_the_isa_has() -> None:
    rows = np.arange(1, 1025)
    assert tiles_of(rows).tolist() == [geometry.tiles_of(int(r)) for r in rows]


def best_of_all(rows: int, columns: int, cores: int, m: int, n: int, k: int) -> float:
    """The fewest cycles of any whole-number split of groups of rows, outputs and contraction over the cores."""
    tiles, words, blocks = ceil(m / rows), ceil(n / columns), ceil(k / 32)
    best = float("inf")
    for a, c, b in product(range(1, cores + 1), repeat=3):
        if a * b * c <= cores and a <= tiles and c <= words and b <= blocks:
            mine = min(m, ceil(tiles / a) * rows), ceil(words / c) * columns, ceil(blocks / b) * 32
            best = min(best, one_core(rows, columns, *mine))
    return best


@given(
    st.sampled_from([4, 16]),
    st.sampled_from([4, 16]),
    st.sampled_from([2, 5, 9]),
    st.integers(1, 40),
    st.integers(1, 2000),
    st.integers(1, 3000),
)
def test_cores_share_about_as_well_as_the_best_split(
    rows: int, columns: int, cores: int, m: int, n: int, k: int
) -> None:
    d = design(rows=rows, columns=columns, cores=cores, scratchpad_bytes_per_cycle=AMPLE)
    cycles, _ = product_cycles(d, 1, 1, m, n, k, 1, INT8)
    best = best_of_all(rows, columns, cores, m, n, k)
    # The closed form knows no whole numbers of cores for each axis.
    assert 0.4 * best - 2 * INTERLEAVE <= cycles <= 2.25 * best + max(rows, INTERLEAVE) * 4


def test_usual_products_share_as_well_as_the_best_split() -> None:
    rng, ratios = np.random.default_rng(0), []
    for _ in range(400):
        rows, columns, cores = (int(rng.choice(x)) for x in ([4, 16], [4, 16], [2, 5, 9]))
        m, n, k = int(rng.integers(1, 200)), int(rng.integers(64, 3000)), int(rng.integers(64, 3000))
        d = design(
            rows=rows, columns=columns, cores=cores, scratchpad_bytes_per_cycle=AMPLE, scratchpad_bytes=1e12
        )
        ratios.append(
            product_cycles(d, 1, 1, m, n, k, 1, INT8)[0] / best_of_all(rows, columns, cores, m, n, k)
        )
    assert np.median(ratios) == pytest.approx(1, abs=0.01)
    assert np.percentile(ratios, 5) > 0.9 and np.percentile(ratios, 95) < 1.15


def test_a_large_product_reaches_the_peak() -> None:
    d = design(rows=8, scratchpad_bytes_per_cycle=AMPLE, scratchpad_bytes=1e12)
    cycles, _ = product_cycles(d, 1, 1, 4096, 4096, 4096, 1, INT8)
    assert cycles == pytest.approx(4096 * 4096 * 4096 / (8 * 16 * 32 * 64), rel=1e-4)
    half = product_cycles(d, 1, 2, 4096, 4096, 4096, 1, block_bytes_of("mxfp4"))[0]
    assert half == pytest.approx(cycles / 2, rel=1e-4)
    large = design(scratchpad_bytes_per_cycle=AMPLE, scratchpad_bytes=1e12)
    tall = product_cycles(large, 1, 1, 4096, 4096, 4096, 1, INT8)[0]
    assert tall == pytest.approx(cycles / 2, rel=1e-4)  # twice the rows, with as many accumulators
    assert overhead_cycles(d) < 0.01 * cycles


def test_one_token_takes_a_word_a_cycle() -> None:
    d = design(cores=1, scratchpad_bytes_per_cycle=AMPLE)
    assert product_cycles(d, 1, 1, 1, 64, 16 * 32 * 8, 1, INT8)[0] == 4 * 128
    # One word of outputs would wait for the adder, were the free rows not to take blocks of the contraction.
    assert product_cycles(d, 1, 1, 1, 16, 16 * 32 * 8, 1, INT8)[0] == 128
    assert product_cycles(d, 1, 1, 16, 16, 16 * 32 * 8, 1, INT8)[0] == 16 * 128  # rows load one a cycle
    # … and the scratchpad has to deliver a block to every column in every cycle, or they wait for it.
    slow = design(cores=1, scratchpad_bytes_per_cycle=17 * 33 / 4)
    assert product_cycles(slow, 1, 1, 1, 64, 16 * 32 * 8, 1, INT8)[0] == pytest.approx(4 * 4 * 128)


def test_short_contractions_wait_for_the_drain() -> None:
    d = design(cores=1, scratchpad_bytes_per_cycle=AMPLE)
    cycles = product_cycles(d, 1, 1, 16, 1600, 64, 1, INT8)[0]
    assert cycles == pytest.approx(16 * 100)  # not the 200 of two steps
    # … and each write for its bank, the sooner the fewer there are.
    few, many = (
        product_cycles(
            design(cores=1, scratchpad_banks=n, scratchpad_bytes_per_cycle=256 * n),
            1,
            1,
            16,
            1600,
            64,
            1,
            INT8,
        )[0]
        for n in (4, 16)
    )
    assert cycles < many < few < 1.5 * cycles


def test_designs_and_points_broadcast() -> None:
    d = design(rows=np.array([[4], [16]]), cores=np.array([[1], [64]]))
    cycles, _ = product_cycles(d, 1, 1, np.array([1, 7, 100]), 512, 2880, 1, 33.0)
    assert np.shape(cycles) == (2, 3)
    assert cycles[1, 2] == product_cycles(design(), 1, 1, 100, 512, 2880, 1, 33.0)[0]


def test_commands_leave_loads_of_weights_their_part_of_the_scratchpad() -> None:
    # 16 words of 32 blocks for 16 columns are 264 KiB: as many rows as words need a scratchpad of ten times that.
    small, large = (
        design(cores=2, scratchpad_bytes=x, scratchpad_bytes_per_cycle=AMPLE) for x in (2**21, 2**22)
    )
    slow, fast = (product_cycles(d, 1, 1, 16, 4096, 4096, 1, INT8)[0] for d in (small, large))
    assert fast == 16 * 8 * 128 and 1.2 * fast < slow < 1.5 * fast
    # Several groups of rows: weights stay for all of them, or come again for each through the port.
    many = product_cycles(large, 1, 1, 64, 4096, 4096, 1, INT8, 1e9)[0]
    assert many == pytest.approx(4 * fast)
    assert product_cycles(large, 1, 1, 64, 4096, 4096, 1, INT8, 128)[0] > 1.5 * many
