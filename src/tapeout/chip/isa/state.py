"""The architectural state of a core: everything that a program can observe or leave behind."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.isa.definition import (
    ARGUMENTS,
    LOOP_DEPTH,
    REGISTER_BITS,
    REGISTER_MASK,
    REGISTERS,
    SEMAPHORE_MAX,
    SEMAPHORES,
    Cause,
    Trap,
)
from tapeout.chip.isa.geometry import GRANULE, Geometry, round_up

U8 = NDArray[np.uint8]


class State:
    """memory uint8 [bytes] (shared with the host), pad uint8 [scratchpad bytes], scalar registers (r0 is always
    0), semaphores, accumulators float32 [2 banks, rows, tiles × outputs], pc and loop stack [(start, end, left)].

    `halted` is the code of `halt`, None while running; `interrupts` are the codes of `interrupt`, in order.
    """

    def __init__(self, geometry: Geometry, memory: U8, arguments: tuple[int, ...] = ()) -> None:
        self.geometry, self.memory = geometry, memory
        self.pad: U8 = np.zeros(geometry.pad_bytes, np.uint8)
        self.registers = [0] * REGISTERS
        self.semaphores = [0] * SEMAPHORES
        self.arguments = [a & REGISTER_MASK for a in arguments] + [0] * (ARGUMENTS - len(arguments))
        width = geometry.tiles * geometry.columns * geometry.ways
        self.accumulators = np.zeros((2, geometry.rows, width), np.float32)
        self.pc = 0
        self.loops: list[tuple[int, int, int]] = []
        self.halted: int | None = None
        self.interrupts: list[int] = []

    def set_register(self, number: int, value: int) -> None:
        """Write a scalar register, modulo 2^48; r0 stays 0."""
        if number:
            self.registers[number] = value & REGISTER_MASK

    def read_memory(self, address: int, n: int) -> U8:
        """n bytes of memory. Raises Trap(MEMORY) beyond its end."""
        if address + n > len(self.memory):
            raise Trap(Cause.MEMORY, f"{n} bytes at {address:#x}")
        return self.memory[address : address + n]

    def write_memory(self, address: int, data: U8) -> None:
        """Raises Trap(MEMORY) beyond its end."""
        self.read_memory(address, len(data))[:] = data

    def read_pad(self, address: int, n: int) -> U8:
        """n bytes of the scratchpad. Raises Trap(RANGE) beyond its end."""
        if address + n > len(self.pad):
            raise Trap(Cause.RANGE, f"{n} bytes at {address:#x} of the scratchpad")
        return self.pad[address : address + n]

    def write_pad(self, address: int, data: U8) -> None:
        """Whole granules: what the last one has beyond the data becomes zero. `address` is a multiple of one."""
        need(Cause.ALIGNMENT, address % GRANULE == 0, f"write to {address:#x}")
        whole = self.read_pad(address, round_up(len(data), GRANULE))
        whole[: len(data)] = data
        whole[len(data) :] = 0

    def read_floats(self, address: int, n: int) -> NDArray[np.float32]:
        """n FP32 values of the scratchpad (a copy)."""
        return self.read_pad(address, 4 * n).copy().view(np.float32)

    def write_floats(self, address: int, values: NDArray[np.float32]) -> None:
        """FP32 values into the scratchpad."""
        self.write_pad(address, np.ascontiguousarray(values, np.float32).view(np.uint8))

    def enter_loop(self, start: int, end: int, count: int) -> None:
        """Push a loop over instructions [start, end), or skip it if `count` is 0."""
        need(Cause.LOOP, end > start, f"a loop that ends at {end}")
        if count == 0:
            self.pc = end
            return
        need(Cause.LOOP, len(self.loops) < LOOP_DEPTH, f"{LOOP_DEPTH + 1} loops nested")
        self.loops.append((start, end, count))

    def advance(self) -> None:
        """After an instruction: close every loop that ends at pc, or jump to its start; check that pc is inside."""
        while self.loops:
            start, end, left = self.loops[-1]
            if self.pc != end:
                need(
                    Cause.LOOP, start <= self.pc < end, f"branch to {self.pc}, out of a loop {start} to {end}"
                )
                return
            self.loops.pop()
            if left > 1:
                self.loops.append((start, end, left - 1))
                self.pc = start
                return

    def take(self, semaphores: tuple[int, ...]) -> bool:
        """Take a token of each, if each has one."""
        if not all(self.semaphores[s] for s in semaphores):
            return False
        for s in semaphores:
            self.semaphores[s] -= 1
        return True

    def give(self, semaphores: tuple[int, ...]) -> None:
        """Add a token to each. Raises Trap(SEMAPHORE) if one is full."""
        for s in semaphores:
            need(Cause.SEMAPHORE, self.semaphores[s] < SEMAPHORE_MAX, f"semaphore {s} is full")
            self.semaphores[s] += 1


def need(cause: Cause, holds: bool, about: str) -> None:
    """Raise Trap unless `holds`."""
    if not holds:
        raise Trap(cause, about)


def signed(value: int) -> int:
    """A register's value as two's complement."""
    return value - (1 << REGISTER_BITS) if value >> (REGISTER_BITS - 1) else value
