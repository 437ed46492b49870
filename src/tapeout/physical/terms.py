"""What the cell area of each block is made of: the terms whose coefficients synthesis gives.

`TERMS[block](**parameters)` gives the amount of each term, for one configuration or for arrays of them; the area
is the sum of amounts times the coefficients of `tables/area.toml` (`cell_area`). The calibration fits those
coefficients, and the area model applies them to a chip: both through the same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tapeout.chip.isa.geometry import BLOCK_BYTES
from tapeout.physical.views import Number, View

Terms = Callable[..., dict[str, Any]]


def _dot_unit(*, mxfp4: Any, mxint8: Any, ways: Any, lanes: Any) -> dict[str, Any]:
    """Multipliers and adder tree by lane; conversion, FP32 adder and exponents by way. Eight-bit multipliers split
    for the second way; four-bit ones are placed twice."""
    narrow, both = mxfp4 * (1 - mxint8), mxfp4 * mxint8
    return {
        "lane_mxfp4": narrow * ways * lanes,
        "way_mxfp4": narrow * ways,
        "lane_mxint8": mxint8 * lanes,
        "way_mxint8": mxint8,
        "lane_both": both * lanes,
        "lane_second_way": both * (ways - 1) * lanes,
        "second_way": both * (ways - 1),
    }


def _weight_column(*, mxfp4: Any, mxint8: Any, ways: Any, lanes: Any) -> dict[str, Any]:
    narrow, both = mxfp4 * (1 - mxint8), mxfp4 * mxint8
    return {"lane_mxfp4": narrow * ways * lanes, "lane_mxint8": mxint8 * lanes, "lane_both": both * lanes}


def _accumulator_file(*, depth: Any, ways: Any) -> dict[str, Any]:
    return {"bit": depth * ways * 32, "way": ways, "entry": depth}


def _matrix_engine(*, rows: Any, columns: Any, tiles: Any, ways: Any) -> dict[str, Any]:
    """Control beside the weights, the multiplexer that drains the rows, the output register."""
    return {
        "result": rows * columns * ways,
        "row": rows,
        "column": columns * ways,
        "mask": rows * rows,
        "index": rows * np.log2(tiles),
        "fixed": 1,
    }


def _matrix_front(*, rows: Any, columns: Any, word_bytes: Any) -> dict[str, Any]:
    """Fetch of operands and writing of results: buffers of a beat of weights, of a word, of a row of results."""
    return {"column": columns, "word_byte": word_bytes, "row": rows, "fixed": 1}


def _scratchpad(*, banks: Any, word_bytes: Any, readers: Any, writers: Any, queued: Any) -> dict[str, Any]:
    """Crossbar and answer queues. `readers`, `writers`: ports; `queued`: words that all queues hold."""
    bits = 8 * word_bytes
    return {
        "write_bit": banks * writers * bits,
        "read_bit": banks * readers * bits,
        "bank_bit": banks * bits,
        "queue_bit": queued * bits,
        "arbiter": banks * (readers + writers),
        "fixed": 1,
    }


def _dma(*, port_bytes: Any, word_bytes: Any, outstanding: Any) -> dict[str, Any]:
    """Alignment goes with bytes times the steps of the shift; the queue of requests with those in flight."""
    wide = np.maximum(port_bytes, word_bytes)
    return {
        "shift": wide * np.log2(wide),
        "port_byte": port_bytes,
        "word_byte": word_bytes,
        "request": outstanding,
        "fixed": 1,
    }


def _vector_front(*, lanes: Any, word_bytes: Any) -> dict[str, Any]:
    """Fetch, operands, codes, element serialiser and writer: two operands and a result are brought to their places in
    the scratchpad's words, which goes with bytes times the steps of the shift."""
    beat = np.maximum(np.maximum(4 * lanes, word_bytes), BLOCK_BYTES)
    return {"shift": beat * np.log2(beat), "byte": beat, "lane": lanes, "fixed": 1}


def _per(name: str, term: str, fixed: bool = True) -> Terms:
    def terms(**given: Any) -> dict[str, Any]:
        return {term: given[name], **({"fixed": 1} if fixed else {})}

    return terms


def _fifo(*, width: Any, depth: Any) -> dict[str, Any]:
    return {"bit": width * depth, "width": width, "entry": depth, "fixed": 1}


def _one(**_: Any) -> dict[str, Any]:
    return {"fixed": 1}


TERMS: dict[str, Terms] = {
    "dot_unit": _dot_unit,
    "weight_column": _weight_column,
    "activation_row": _per("lanes", "lane"),
    "accumulator_file": _accumulator_file,
    "matrix_engine": _matrix_engine,
    "matrix_front": _matrix_front,
    "function_unit": _one,
    "vector_lane": _one,
    "vector_unit": _per("lanes", "lane"),
    "quantiser": _per("lanes", "lane"),
    "reducer": _per("lanes", "lane"),
    "greatest": _per("lanes", "lane"),
    "topk": _per("k", "entry"),
    "vector_front": _vector_front,
    "secded_encode": _one,
    "secded_decode": _one,
    "scratchpad_bank": _per("word_bytes", "byte"),
    "scratchpad": _scratchpad,
    "fifo": _fifo,
    "dma_load": _dma,
    "dma_store": _dma,
    "transpose_array": _per("word_bytes", "byte"),
    "memory_port": _per("port_bytes", "byte"),
    "sequencer": _per("port_bytes", "byte"),
    "host": _one,
    "counters": _one,
}


def cell_area(view: View, block: str, **parameters: Any) -> Number:
    """ASAP7 cell area of `block` in mm², at `parameters` (numbers, or arrays that broadcast)."""
    amounts: Mapping[str, Any] = TERMS[block](**parameters)
    return sum(amount * view.get(f"area.{block}.{name}", "mm2") for name, amount in amounts.items())
