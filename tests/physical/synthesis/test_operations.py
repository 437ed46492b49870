"""Energy per operation, gates held to the twins on the demo's operands."""

import numpy as np
import pytest
from libraries_for_tests import kit

from tapeout.chip.rtl.dot_unit import DotUnit
from tapeout.chip.rtl.fp32_add import Fp32Add
from tapeout.chip.rtl.vector_lane import VectorLane
from tapeout.model import load
from tapeout.physical.synthesis import operations, token
from tapeout.physical.synthesis.flow import synthesise
from tapeout.physical.synthesis.operands import TOKENS, demo_operands, in_format


def test_operands_are_the_demo_s() -> None:
    """Activations of all its layers, weights as the checkpoint has them; an INT8 block uses its range."""
    found = demo_operands()
    model = load("demo")
    assert len(found.products) == 2 * len(model.layers)
    for p in found.products:
        assert p.activations.shape == (TOKENS, model.hidden) and p.weights.shape[1] == model.hidden
        codes = np.abs(p.activations.integers()).reshape(-1, 32).max(axis=1)
        assert (codes >= 64).mean() > 0.99
        assert in_format(p.weights, "mxfp4").format.name == "mxfp4"
    assert all(a.size == b.size >= 96 * operations.STREAMS for a, b in found.values.values())


def test_an_accumulation() -> None:
    """More than Horowitz's 45 nm adder scaled to 7 nm (0.9 pJ × 0.14) and less than his 45 nm one."""
    block = Fp32Add(registered=False)
    (one,) = operations.energies(block, synthesise(block, kit("asap7")))
    assert one.vectors > 10_000
    assert 0.9 * 0.14 < one.counted_pj < one.low_pj < one.pj < one.high_pj < 0.9 * 1.5


def test_counts_of_a_token() -> None:
    """MACs of a token at batch 1: every weight it meets once, and attention over what is cached."""
    early, late = token.counts(0), token.counts(200)
    assert early["mxfp4 MAC"] == late["mxfp4 MAC"] > 0
    grown = late["mxint8 MAC"] - early["mxint8 MAC"]
    model = load("demo")
    heads = sum(layer.attention.heads * layer.attention.head_dim * 2 for layer in model.layers)  # type: ignore[union-attr]
    assert 0 < grown <= heads * 200
    assert token.token([]) is None


@pytest.mark.slow
def test_macs_and_elements() -> None:
    """The whole unit with what is around it, and the lane: MXFP4 costs about half of MXINT8, both near prototypes'."""
    one = kit("asap7")
    unit = DotUnit()
    found = {e.operation: e for e in operations.energies(unit, synthesise(unit, one))}
    four, eight = found["mxfp4 MAC"], found["mxint8 MAC"]
    assert four.vectors > 20_000 and eight.vectors > 10_000
    assert 0.4 < four.counted_pj / eight.counted_pj < 0.7
    assert 0.05 < four.shares["unit"] < 0.1  # a prototype without the second format: 0.074 pJ
    lane = {e.operation: e for e in operations.energies(VectorLane(), synthesise(VectorLane(), one))}
    assert lane["FP32 add"].pj < lane["FP32 exp2"].pj
    assert all(e.vectors > 5000 for e in lane.values())
