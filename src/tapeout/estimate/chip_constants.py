"""Constants of our micro-architecture that are not knobs of ChipSpec. Each with where it comes from."""

from __future__ import annotations

from tapeout.chip.isa import timing

# Cycles from the first block entering a unit to its sum in the accumulator, as in the RTL of the unit
# (tapeout.chip.rtl.dot_unit): input register, tree, total 2, normalise, convert, add 4.
MATRIX_PIPELINE_CYCLES = 10
INTERLEAVE = 4  # cycles of the FP32 addition, and so between two blocks of one accumulator (ibid.)
# An instruction passes fetch, decode and the scoreboard before its engine starts, and signals its end.
INSTRUCTION_CYCLES = 12
# The rest of this group: tapeout.chip.isa.timing, which tests hold equal to the RTL.
# Rows of sums begin at multiples of so many bytes, and a write of theirs finds its bank taken by operands as if those
# took so many banks in each cycle.
RESULT_ALIGN, BANKS_TAKEN = 32, 1.2
# Of the cycles in which a row loads and beats of weights take its bank, the part in which it waits; the rest it has in
# hand. Fitted to the cycle simulator (benchmarks/estimate_vs_cycle.py, seeds 101 and 202).
ROW_WAITS = 0.45
# Weights come in chunks (tapeout.compiler): of a command, at least and at most so many bytes.
CHUNK_BYTES, CHUNK_MOST = 4608.0, 98304.0
# A load has whole groups of so many blocks of the contraction, and at most this part of the scratchpad; weights that
# several row tiles meet at most that one (simulator.cycle.share).
LOAD_BLOCKS, WEIGHTS_PART, GROUPS_PART = 32, 10, 8
VECTOR_REDUCED = float(timing.VECTOR_REDUCED)  # elements that a sum or a maximum takes a cycle, at most
# From a vector instruction to one that needs its result: start, and the mean pipeline of those that a norm and
# a softmax are made of; the token between them.
VECTOR_PIPELINE_CYCLES = timing.VECTOR_START + 18
VECTOR_ACCESSES = (
    2.5  # operands and results of a vector instruction, mean, each a word of FP32 for every lane
)
NORM_INSTRUCTIONS = 8  # one after the other: square, sum, mean, epsilon, root, two products, quantisation
# Router traversal plus link of a mesh hop, and the handshake when cores exchange partial results
# (two cycles per hop is what single-cycle-router meshes reach; Dally and Towles, 2004).
NOC_CYCLES_PER_HOP = 2
CORE_SYNC_CYCLES = 20
# Load-to-use of HBM through a network on chip, seconds. GPUs measure 0.5-0.8 µs through two cache levels;
# a DMA into a scratchpad has neither (HBM core latency about 0.1 µs, controller and network the rest).
MEMORY_LATENCY_SECONDS = 0.35e-6
# The same where one core's port leads to the memory directly: array, controller and PHY, no network on chip.
DIRECT_LATENCY_SECONDS = 0.1e-6
# Share of the links' peak that a collective keeps: 0.90 after FEC, framing and credits (RS(544,514) and headers), times
# 0.83 under the incast and skew of an all-to-all, assumed (0.7-0.95); accelerators measure 0.65 in bulk.
LINK_EFFICIENCY = 0.75
# One message through a scale-up switch: two SerDes with FEC at 0.1 µs each and a switch of 0.25 µs
# (Broadcom's figure for Tomahawk Ultra, 2025), plus 0.15 µs of endpoint logic.
SCALE_UP_LATENCY_SECONDS = 0.6e-6
SCALE_OUT_LATENCY_SECONDS = 2.5e-6  # RDMA over Ethernet between racks: NIC, two or three switches, optics
# Part of memory kept for programs, activations that spill, and fragmentation of the paged cache.
MEMORY_RESERVE = 0.05
# Host round trip per step is hidden: the chip samples, and takes the next step's tokens itself.
STEP_OVERHEAD_SECONDS = 2e-6  # doorbell to first instruction, and the last token's way out
