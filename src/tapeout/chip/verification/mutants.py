"""The seeded bugs: mistakes that are easily made in each block, and that its tests must find.

In each the circuit is still legal: it elaborates, has the same ports and in most cycles does the right thing.
"""

from __future__ import annotations

from tapeout.chip.verification.mutation import Mutation

STREAMS, PAD, FP32 = "test_streams.py", "test_scratchpad.py", "test_fp32.py"
FAULTS, HOST = "test_faults.py::test_what_is_told_equals_the_definition", "test_host.py"
# blocks whose simulators have a form of their own: a bug in what is made shows where the two are compared
SUMS, TURNS = "test_reducer.py", "test_vector_engine.py::test_rows_in_turn"
FORMS = "test_behaviour.py::test_behaviour_is_the_elaboration"
DOT, ENGINE = "test_dot_unit.py", "test_matrix_engine.py"
# The form that is simulated in the engine has no triples; the proof is about the one that is made.
PROOF_OF_DISPATCH = "../verification/test_proofs.py::test_proof[semaphores]"
PROOF_OF_WEIGHTS = (
    "../verification/test_proofs.py::test_proof[weights mxfp4+mxint8 \\xd7 2]"  # as pytest escapes it
)
PROOF_OF_ROWS = "../verification/test_proofs.py::test_proof[activations]"

MUTANTS = (
    # streams
    Mutation(
        "fifo_overflow", "fifo", "self.i.ready.eq(self.level != self.depth)", "self.i.ready.eq(1)",
        "ready stays up when the queue is full: a word is overwritten", (STREAMS,),
    ),
    Mutation(
        "fifo_one_short", "fifo", "self.i.ready.eq(self.level != self.depth)",
        "self.i.ready.eq(self.level < self.depth - 1 + (self.depth == 1))",
        "off by one: the last word of the queue is never used", (STREAMS,),
    ),
    Mutation(
        "fifo_wrap", "fifo", "read.eq(Mux(read == self.depth - 1, 0, read + 1))", "read.eq(read + 1)",
        "the read pointer wraps at a power of two instead of at the depth", (STREAMS,),
    ),
    Mutation(
        "fifo_level", "fifo", "self.level.eq(self.level + push - pop)",
        "self.level.eq(Mux(push, self.level + 1, self.level - pop))",
        "a push and a pop in one cycle count as a push", (STREAMS,),
    ),
    Mutation(
        "skid_dropped_ready", "skid", "push.eq(self.i.valid & ~has_spare)",
        "push.eq(self.i.valid & ~has_spare & (~has_out | self.o.ready))",
        "ready is shown but the word that comes in while the output waits is dropped", (STREAMS,),
    ),
    Mutation(
        "skid_stale_spare", "skid", "has_spare.eq(0),", "",
        "the spare register is not marked free when its word moves on: it is sent again", (STREAMS,),
    ),
    Mutation(
        "skid_parity", "skid", "self.i.payload.xor() ^ self.inject", "self.i.payload[1:].xor() ^ self.inject",
        "bit 0 is left out of the parity", (STREAMS,),
    ),
    Mutation(
        "arbiter_fixed_priority", "arbiter", "m.d.sync += last.eq(grant)", "m.d.sync += last.eq(last)",
        "the last winner is not remembered: input 0 starves the others", (STREAMS,),
    ),
    Mutation(
        "arbiter_two_grants", "arbiter", "Mux(behind.any(), 0, first_one(asking))", "first_one(asking)",
        "two inputs are granted in one cycle; one of the words is lost", (STREAMS,),
    ),
    Mutation(
        "arbiter_waits_for_ready", "arbiter", "free = ~self.o.valid | self.o.ready", "free = self.o.ready",
        "valid waits for ready, which may wait for valid: a deadlock", (STREAMS,),
    ),
    Mutation(
        "arbiter_overwrites", "arbiter", "free = ~self.o.valid | self.o.ready", "free = Const(1, 1)",
        "a word that waits at the output is overwritten by the next", (STREAMS,),
    ),
    # SECDED and the scratchpad
    Mutation(
        "secded_column", "secded", "for i, c in enumerate(columns()) if c >> row & 1)",
        "for i, c in enumerate(columns()) if c >> row & 1 and (i, row) != (0, 0))",
        "one data bit is missing from one check bit: its column gets an even weight or clashes with another", (PAD,),
    ),
    Mutation(
        "secded_no_double", "secded", "self.two_wrong.eq(syndrome.any() & ~syndrome.xor())",
        "self.two_wrong.eq(syndrome[:6].any() & ~syndrome.xor())",
        "the top two bits of the syndrome are not looked at", (PAD,),
    ),
    Mutation(
        "secded_miscorrects", "secded", "Cat(syndrome == c for c in columns())",
        "Cat((syndrome | (c & 1)) == c for c in columns())",
        "a don't-care in the corrector: some double errors and check-bit errors flip a data bit", (PAD,),
    ),
    Mutation(
        "secded_check_parity", "secded", " ^ Cat(syndrome == 1 << i for i in range(CHECK)).any()", "",
        "a corrected error of a check bit is taken for a wrong parity of the data", (PAD,),
    ),
    Mutation(
        "scratchpad_not_cleared", "scratchpad", "cleared == self.depth - 1", "cleared == self.depth - 2",
        "off by one: the last row of each bank is not cleared after reset", (PAD,),
    ),
    Mutation(
        "scratchpad_parity_mask", "scratchpad", "(Cat(*write_parity) ^ self.parity) & self.write",
        "Cat(*write_parity) ^ self.parity",
        "the parity of granules that are not written is compared too", (PAD,),
    ),
    Mutation(
        "scratchpad_parity_lane", "scratchpad",
        "[lane * self.granules : (lane + 1) * self.granules]\n                parity",
        "[: self.granules]\n                parity",
        "every word of a wide write is compared with the parity of its first", (PAD,),
    ),
    Mutation(
        "scratchpad_place", "scratchpad", 'delay(m, self.row, 3, name="at")', 'delay(m, self.row, 2, name="at")',
        "an error is told with the row of the access behind it", (PAD,),
    ),
    Mutation(
        "parity_bit", "parity", "word[i : i + GROUP].xor()", "word[i : i + GROUP - 1].xor()",
        "the last bit of each group is left out of its parity", (FORMS, FAULTS),
    ),
    Mutation(
        "parity_stale", "parity", "came.eq(self.taken)", "came.eq(1)",
        "a word that was not taken is compared as well", (FORMS, FAULTS),
    ),
    Mutation(
        "host_last_fault", "host", "self.fault.any() & (self.start | ~fault.any())", "self.fault.any()",
        "a later fault takes the place of the first", (HOST,),
    ),
    Mutation(
        "host_rings_twice", "host", "waits.eq(rung & self.clearing)", "waits.eq(rung)",
        "a doorbell that had to wait starts the program again and again", (HOST,),
    ),
    Mutation(
        "scratchpad_stale_group", "scratchpad", "which_before = delay(m, which, READ_LATENCY - 2, name=f\"which{k}\")",
        "which_before = delay(m, which, READ_LATENCY - 3, name=f\"which{k}\")",
        "the bank of an answer is chosen by the read behind it", (PAD,),
    ),
    Mutation(
        "scratchpad_credit", "scratchpad", "credit.eq(credit - taken + returned)",
        "credit.eq(Mux(returned, port.queue, credit - taken))",
        "a returned answer restores all credits: the answer queue overflows under back-pressure", (PAD,),
    ),
    Mutation(
        "scratchpad_last_credit", "scratchpad", "returned | (some & ~taken)", "returned | some",
        "the last credit is spent for ever: the answer queue overflows under back-pressure", (PAD,),
    ),
    Mutation(
        "scratchpad_mask", "scratchpad", "lane = b % self.ports[k]", "lane = b // len(self.ports) % self.ports[k]",
        "a wide port's words go to the wrong banks", (PAD,),
    ),
    Mutation(
        "scratchpad_clash", "scratchpad", "before[j, k] if j < k else ~before[k, j]",
        "before[j, k] if j < k else before[k, j]",
        "neither of two ports sees the other's claim: both are granted one bank", (PAD,),
    ),
    Mutation(
        "scratchpad_fixed_priority", "scratchpad", "following.eq(Mux(turn == 2 * n - 1, 0, turn + 1))",
        "following.eq(0)", "priority does not rotate", (PAD,),
    ),
    Mutation(
        "scratchpad_wrong_count", "scratchpad", "double.append(decoder.two_wrong)", "double.append(decoder.one_wrong)",
        "corrected errors are counted as uncorrectable too", (PAD,),
    ),
    # FP32
    Mutation(
        "add_no_sticky", "fp32_add", "add += operand.eq(Cat(lost, aligned))",
        "add += operand.eq(Cat(Const(0, 1), aligned))",
        "the sticky bit of the alignment is missing", (FP32,),
    ),
    Mutation(
        "add_round_half_up", "fp32_add", "up = significand3[1] & (significand3[0] | significand3[2])",
        "up = significand3[1]", "ties are rounded up, not to even", (FP32,),
    ),
    Mutation(
        "add_flush", "fp32_add", "field.eq(Mux(limited | ~sum2.any(), 0, exponent2 + 1 - zeros))",
        "field.eq(Mux(~sum2.any(), 0, exponent2 + 1 - zeros))",
        "a subnormal sum gets the exponent of a normal one", (FP32,),
    ),
    Mutation(
        "add_lost_carry", "fp32_add", "sum2 = register(m, Cat(total[:27], total[27] & ~subtract1), \"sum2\")",
        "sum2 = register(m, Cat(total[:27], Const(0, 1)), \"sum2\")", "the carry of the addition is lost", (FP32,),
    ),
    Mutation(
        "add_negative_zero", "fp32_add",
        "flags3 = register(m, Cat(flags2[0], flags2[1], flags2[3] & ~cancelled), \"flags3\")",
        "flags3 = register(m, Cat(flags2[0], flags2[1], flags2[3]), \"flags3\")",
        "x - x has the sign of x instead of +", (FP32,),
    ),
    Mutation(
        "add_infinities", "fp32_add", "(subtract & small[23:31].all())", "Const(0, 1)",
        "infinity minus infinity is infinity, not NaN", (FP32,),
    ),
    Mutation(
        "mul_subnormal_flush", "fp32_mul", "upper, lost = shift_right_sticky(m, shifted[22:], right3, \"right\")",
        "upper, lost = shift_right_sticky(m, Mux(right3.any(), 0, shifted[22:]), right3, \"right\")",
        "products below the normal range by more than the shift to the left are flushed to zero", (FP32,),
    ),
    Mutation(
        "mul_sticky", "fp32_mul", "sticky = lost | shifted[:22].any()", "sticky = lost | shifted[1:22].any()",
        "one of the 22 bits below is not in the sticky bit", (FP32,),
    ),
    Mutation(
        "mul_exponent", "fp32_mul", "Cat(self.a[23] | ~normal_a, self.a[24:31])", "self.a[23:31]",
        "a subnormal first operand has exponent 0 instead of 1", (FP32,),
    ),
    Mutation(
        "mul_overflow", "fp32_mul", "field4[8:].any() | flags4[1]", "flags4[1]",
        "a product far above the range wraps around instead of becoming infinity", (FP32,),
    ),
    # the matrix engine's parts
    Mutation(
        "digit_swapped_nibble", "digits",
        "digit_from_high_nibble(byte[4:]) if half else digit_from_low_nibble(byte[:4])",
        "digit_from_high_nibble(byte[:4]) if half else digit_from_low_nibble(byte[4:])",
        "the nibbles of an INT8 weight are swapped", (DOT,),
    ),
    Mutation(
        "digit_fp4_six", "digits", "m0_high = (~c2 & c1) | (c2 & ~c1 & c0)", "m0_high = (~c2 & c1)",
        "the E2M1 code 5 (3.0) means 2.0", (DOT,),
    ),
    Mutation(
        "dot_scale_sum", "dot_unit", "exponent = delay(m, base, 3, name=pre + \"exponent\")",
        "exponent = delay(m, base[:9].as_signed(), 3, name=pre + \"exponent\")",
        "the sum of the two scales loses its top bit", (DOT,),
    ),
    Mutation(
        "dot_nan_scale", "dot_unit", "nan = self.scale.all() | scale.all()", "nan = self.scale.all() & scale.all()",
        "one NaN scale is taken for a number", (DOT,),
    ),
    Mutation(
        "dot_subnormal_flush", "dot_unit", "amount = Mux(low, right[:5] | (right[5:11].any()).replicate(5), 0)",
        "amount = Mux(low, 31, 0)", "block sums in the subnormal range are flushed to zero", (DOT,),
    ),
    Mutation(
        "dot_sticky", "dot_unit", "up = shifted[0] & (lost | shifted[1])", "up = shifted[0] & shifted[1]",
        "the rounding of a subnormal block sum has no sticky bit", (DOT,),
    ),
    Mutation(
        "dot_negate", "dot_unit", "[Cat(zeros, offset), Cat(zeros, negative)] if zeros is not None",
        "[Cat(zeros, offset), negative] if zeros is not None",
        "the carry-in of a negated upper digit has the weight of the lower one", (DOT,),
    ),
    Mutation(
        "dot_mode_late", "dot_unit", "int8_2 = register(m, int8_1, \"int8_2\") if self.both else is_int8",
        "int8_2 = int8_1",
        "the mode reaches the end of the tree a cycle early: formats that alternate are mixed", (DOT,),
    ),
    Mutation(
        "accumulator_zero", "accumulator_file", "Mux(self.zero, 0, latest)", "latest",
        "the first block of an output is added to what the last one left", (ENGINE,),
    ),
    Mutation(
        "accumulator_forward", "accumulator_file", "Mux(self.forward[way], self.sums[part], read.data[part])",
        "read.data[part]", "a sum that is written as it is read is not seen: the addition before is lost", (ENGINE,),
    ),
    Mutation(
        "engine_forward", "matrix_engine", "Mux(early == before, enables, 0)", "enables",
        "the operand is whatever sum is being written, of another tile too", (ENGINE,),
    ),
    Mutation(
        "accumulator_ways", "accumulator_file", "write.en.eq(self.write)",
        "write.en.eq(self.write.any().replicate(self.ways))", "both ways are written whenever one is", (ENGINE,),
    ),
    Mutation(
        "accumulator_drain", "accumulator_file", "drain.addr.eq(self.drain_index)",
        "drain.addr.eq(Mux(self.write.any(), self.write_index, self.drain_index))",
        "draining shares the write port's address", (ENGINE,),
    ),
    Mutation(
        "row_stale_slot", "activation_row", "with m.If(self.load & (self.load_slot == i)):",
        "with m.If(self.load & (self.load_slot == i) & ~(self.select & (self.slot == 1 - i))):",
        "a load that coincides with the use of the other slot is lost: stale activations", (ENGINE,),
    ),
    Mutation(
        "row_triples", "activation_row", ".eq(one + Cat(Const(0, 1), one).as_signed())",
        ".eq((one + Cat(Const(0, 1), one).as_signed())[:9].as_signed())",
        "three times an activation is a bit too narrow", (PROOF_OF_ROWS,),
    ),
    Mutation(
        "column_scales", "weight_column", "self.scales.eq(register(m, self.scales_in, \"scales_reg\"))",
        "self.scales.eq(self.scales_in)", "the scales of the word behind go with a word", (PROOF_OF_WEIGHTS,),
    ),
    Mutation(
        "engine_hazard", "matrix_engine", "for age in range(1, LOOP):", "for age in range(1, LOOP - 1):",
        "off by one: an accumulator is read a cycle before its sum is written", (ENGINE,),
    ),
    Mutation(
        "engine_last_tile", "matrix_engine", "low.eq(Mux(last_beat, 0, above[: len(low)]))",
        "low.eq(above[: len(low)])",
        "the group counter is not reset at the end of a step", (ENGINE,),
    ),
    Mutation(
        "engine_last_step", "matrix_engine", "steps[i].start.eq(step == 0)", "steps[i].start.eq(step <= 1)",
        "off by one in the loop over steps: the second step starts from zero again", (ENGINE,),
    ),
    Mutation(
        "engine_busy_bank", "matrix_engine", " & ~Mux(now.of.bank, busy[1], busy[0])", "",
        "a bank that is being drained is filled again", (ENGINE,),
    ),
    Mutation(
        "engine_drain_stall", "matrix_engine", "done.eq(waiting[0] & free & last)", "done.eq(waiting[0] & last)",
        "a drain ends although its last word has not left", (ENGINE,),
    ),
    Mutation(
        "engine_drain_queue", "matrix_engine", "with m.If((waiting == 0) | ((waiting == 1) & done)):",
        "with m.If(waiting == 0):", "a request that comes as the only one ends is queued behind nothing", (ENGINE,),
    ),
    # load and store engines, sequencer
    Mutation(
        "store_lost_acknowledgement", "dma_store", "over = ends.o.valid & (self.acknowledged | owed.any() | ~is_write)",
        "over = ends.o.valid & (self.acknowledged | ~is_write)",
        "an acknowledgement that comes while an empty command ends is lost",
        ("test_core.py::test_acknowledgements_that_come_while_an_empty_store_ends",),
    ),
    Mutation(
        "array_order", "transpose_array", "entering[TILE - 1 - j] = row.data.word_select(arrays * j + a, 8)",
        "entering[TILE - 1 - j] = row.data.word_select(32 * a + j, 8)",
        "columns of a group lie in one array instead of side by side", ("test_core.py::test_random_programs",),
    ),
    Mutation(
        "array_waits_for_a_load", "dma_load", "self.coming.eq(Mux(has, took.turns, ",
        "self.coming.eq(Mux(has & took.turns, 1, ",
        "a panel waits for rows behind a load that waits for the panel: a deadlock",
        ("test_core.py::test_a_short_load_between_tiles",),
    ),
    Mutation(
        "address_borrow", "dma_address", "~now.size[low:], rest[:low] < length",
        "~now.size[low:], rest[:low] <= length",
        "what is left of a run loses a word where it ends with one", ("test_core.py::test_random_programs",),
    ),
    Mutation(
        "array_busy", "transpose_array", " | (leaving & ~(gives & last_word))", "",
        "a transposer is taken to be empty while its last panel leaves", ("test_core.py::test_random_programs",),
    ),
    Mutation(
        "address_far_index", "dma_address", "m.d.sync += far.eq(entry >= self.pad_bytes)", "m.d.sync += far.eq(0)",
        "an index beyond the scratchpad is not noticed", ("test_core.py::test_traps",),
    ),
    Mutation(
        "sequencer_by_way", "sequencer", "Mux(write & (later[0] == number), result, read.data)", "read.data",
        "an instruction does not see the result of the one before", ("test_core.py::test_random_programs",),
    ),
    Mutation(
        "sequencer_branch_runs_on", "sequencer", 'for name in ("branch", "loop", "halt")',
        'for name in ("loop", "halt")',
        "what follows a branch is executed", ("test_core.py::test_random_programs",),
    ),
    # ends of commands
    Mutation(
        "end_of_two_commands", "matrix_results", "closing.eq(drained | (closing & ~written))",
        "closing.eq((closing | drained) & ~written)",
        "a word that is taken hides the last tile of the command behind: two ends fall together, one is lost",
        ("test_matrix.py::test_every_command_ends_where_one_without_results_is_behind_a_short_one",),
    ),
    # sums of rows in turn
    Mutation(
        "sum_early_beat", "reducer", "clear = ~wrapped | ~Cat(", "clear = Const(1, 1) | ~Cat(",
        "a beat adds to partial sums that are still in the adders", (SUMS,),
    ),
    Mutation(
        "sum_of_another_row", "reducer", 'ended = delay(m, row1, LOOP, name="ended")',
        'ended = delay(m, row1, LOOP - 1, name="ended")',
        "the partial sums that are halved are those of the row whose turn comes next", (SUMS,),
    ),
    Mutation(
        "sum_goes_on", "reducer", "Mux(wrapped1, _chosen(sets, at1), 0)", "_chosen(sets, at1)",
        "a row begins with the partial sums of the one before", (SUMS,),
    ),
    Mutation(
        "greatest_of_two_rows", "greatest", "first.eq(last)", "first.eq(0)",
        "the largest of a row is carried into the next", (SUMS,),
    ),
    Mutation(
        "turn_of_too_few", "vector_fetch", "m.d.sync += top.eq(which)", "m.d.sync += top.eq(0)",
        "after their first passes only the first of several rows goes on", (TURNS,),
    ),
    Mutation(
        "turn_from_the_start", "vector_fetch", "m.d.sync += one.eq(a + by)", "m.d.sync += one.eq(a)",
        "a row in turn is read again and again from where it was", (TURNS,),
    ),
    # the core's scoreboard
    Mutation(
        "dispatch_two_takers", "sequencer_dispatch", " & ~first", "",
        "two engines take the one token of a semaphore in the same cycle", (PROOF_OF_DISPATCH,),
    ),
    Mutation(
        "dispatch_takes_again", "sequencer_dispatch",
        "able.eq(queues[k].o.valid & ~held & ", "able.eq(queues[k].o.valid & ",
        "tokens are taken in every cycle in which the engine does not take the command", (PROOF_OF_DISPATCH,),
    ),
    Mutation(
        "dispatch_without_tokens", "sequencer_dispatch", "command.valid.eq(held & flying[k].i.ready)",
        "command.valid.eq(queues[k].o.valid & flying[k].i.ready)",
        "a command is offered before its tokens are there", (PROOF_OF_DISPATCH,),
    ),
    Mutation(
        "dispatch_lost_signal", "sequencer_dispatch", "up = sum((g[s] for g in given), Const(0, 1))",
        "up = Cat(g[s] for g in given).any()", "of two signals in one cycle one is lost", (PROOF_OF_DISPATCH,),
    ),
)  # fmt: skip
