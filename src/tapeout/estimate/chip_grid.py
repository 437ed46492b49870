"""Many designs × many operating points, in slices that stay in cache, on every core of the host."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tapeout.estimate.chip import ChipEstimate, estimate_chips
from tapeout.estimate.chip_design import DesignArrays
from tapeout.estimate.chip_work import ChipWork

SLICE = 2**14  # results at a time: a dozen float32 temporaries of this size fit into a core's L2 cache


def estimate_grid(
    designs: DesignArrays,
    work: ChipWork,
    *,
    threads: int = 2,
    dtype: Any = np.float32,
    progress: Callable[[int], None] | None = None,
) -> ChipEstimate:
    """`estimate_chips` for D designs (fields of shape [D, 1] or scalar) and P points (fields of shape [P]).

    Results have the shape [D, P]. `progress` is called with the number of results of each slice as it is done.
    NumPy releases the interpreter in its loops, so threads share the work without copying it.
    """
    count = designs.length
    points = np.broadcast_shapes(*(np.shape(s.repeats * s.m * s.products) for s in work.prepared(dtype)))
    width = int(np.prod(points)) if points else 1
    step = max(1, SLICE // width)
    starts = range(0, count, step)
    shape = (count, width)
    seconds, joules, fits = np.empty(shape, dtype), np.empty(shape, dtype), np.empty(shape, dtype=bool)
    parts = designs.map(np.asarray)

    def run(start: int) -> None:
        stop = min(start + step, count)
        e = estimate_chips(parts[slice(start, stop)], work, dtype=dtype)
        seconds[start:stop], joules[start:stop], fits[start:stop] = e.seconds, e.joules, e.fits
        if progress is not None:
            progress((stop - start) * width)

    if threads <= 1 or len(starts) == 1:
        for start in starts:
            run(start)
    else:
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(run, start) for start in starts]:
                done.result()
    return ChipEstimate(seconds, joules, fits, work.passes)
