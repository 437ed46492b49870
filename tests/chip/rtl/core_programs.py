"""Random programs that the executable ISA and the RTL must agree on, byte for byte.

Memory: data at DATA, results from RESULTS on, the program at CODE. The scratchpad is filled from memory first and
stored as a whole last, with the registers in its first bytes, so that everything architectural is compared. Loads
and stores run beside each other and beside the sequencer; those that touch the same bytes are ordered by tokens.
"""

from __future__ import annotations

import numpy as np

MEMORY, DATA, RESULTS, SCATTERED, CODE = 1 << 18, 0, 0x10000, 0x20000, 0x38000
PAD = 4096  # bytes of the scratchpad in use
REGISTERS = 256  # bytes that the registers are written to, at the start
TABLES = 512  # bytes after them that hold indices


class Program:
    """Text of a program, and the operations under way: (semaphore, engine, pad range, memory range, writes pad)."""

    def __init__(self, seed: int, turns: bool = True) -> None:
        self.rng = np.random.default_rng(seed)
        self.turns = turns  # the core has `transpose`
        self.lines: list[str] = []
        self.open: list[tuple[int, tuple[int, int], bool]] = []
        self.labels = 0
        self.preamble()
        for _ in range(int(self.rng.integers(10, 30))):
            self.statement(0)
        self.epilogue()

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def add(self, line: str) -> None:
        self.lines.append(line)

    def set(self, register: int, value: int) -> None:
        self.add(f"add rd=r{register} imm={value}")

    def preamble(self) -> None:
        """The scratchpad from memory; small indices into the tables; random registers 16 to 27."""
        self.set(1, 1)
        self.set(2, PAD)
        self.add("load pad=r0 memory=r0 bytes=r2 n0=r1 n1=r1 signal=15")
        self.add("sync wait=15")
        for at in range(REGISTERS, REGISTERS + TABLES, 8):
            self.set(3, int(self.rng.integers(0, 12)) | int(self.rng.integers(0, 12)) << 32)
            self.set(4, at)
            self.add("write a=r3 b=r4")
        for r in range(16, 28):
            value = int(self.rng.integers(0, 1 << 48)) >> int(self.rng.integers(0, 48))
            self.set(r, value - (1 << 48) if value >> 47 else value)

    def epilogue(self) -> None:
        self.settle((0, PAD), True)
        for r in range(1, 32):
            self.add(f"write a=r{r} imm={8 * r}")
        self.set(1, 1)
        self.set(2, PAD)
        self.set(3, RESULTS)
        self.add("sync signal=15")
        self.add("store pad=r0 memory=r3 bytes=r2 n0=r1 n1=r1 wait=15")
        self.add("halt code=77")

    def settle(self, range_: tuple[int, int], writes: bool) -> None:
        """Wait for what is under way in these bytes of the scratchpad."""
        kept = []
        for semaphore, (low, high), wrote in self.open:
            if low < range_[1] and range_[0] < high and (wrote or writes):
                self.add(f"sync wait={semaphore}")
            else:
                kept.append((semaphore, (low, high), wrote))
        self.open = kept

    def scalar(self) -> None:
        ops = ("add", "sub", "mul", "and", "or", "xor", "shl", "shr", "min", "max", "less", "equal")
        r = [int(self.rng.integers(16, 32)) for _ in range(3)]
        imm = int(self.rng.integers(-(1 << 47), 1 << 47)) >> int(self.rng.integers(0, 48))
        which = int(self.rng.integers(0, 3))
        b = "" if which == 0 else f" b=r{r[2]}"
        tail = "" if which == 1 else f" imm={imm}"
        self.add(f"{self.rng.choice(ops)} rd=r{r[0]} a=r{r[1]}{b}{tail}")

    def statement(self, depth: int) -> None:
        kind = self.rng.choice(
            ["scalar", "scalar", "access", "loop", "branch", "move", "move", "index", "interrupt", "turn"]
        )
        if kind == "scalar":
            self.scalar()
        elif kind == "access":
            at = int(self.rng.integers(REGISTERS + TABLES, PAD)) & ~7
            if self.rng.random() < 0.5:
                self.settle((at, at + 8), True)
                self.add(f"write a=r{self.rng.integers(16, 32)} imm={at}")
            else:
                self.settle((at, at + 8), False)
                self.add(f"read rd=r{self.rng.integers(16, 32)} imm={at + 4 * int(self.rng.integers(0, 2))}")
        elif kind == "interrupt":
            self.add(f"interrupt code={self.rng.integers(0, 1 << 16)}")
        elif kind == "branch":
            self.labels += 1
            label = f"b{self.labels}"
            condition = self.rng.choice(["equal", "unequal", "less", "at_least"])
            self.add(
                f"branch a=r{self.rng.integers(16, 32)} b=r{self.rng.integers(16, 32)} if={condition} target={label}"
            )
            for _ in range(int(self.rng.integers(0, 3))):
                self.scalar()
            self.add(f"{label}:")
        elif kind == "loop" and depth < 3:
            self.labels += 1
            label, counter = f"l{self.labels}", 12 + depth
            self.set(counter, int(self.rng.choice([0, 1, 2, 5])))
            self.add(f"loop count=r{counter} end={label}")
            self.scalar()
            for _ in range(int(self.rng.integers(0, 4))):
                if depth < 2 and self.rng.random() < 0.3:
                    self.statement_in_loop(depth + 1)
                self.scalar()
            self.add(f"{label}:")
        elif kind in ("move", "index"):
            self.move(kind == "index")
        elif kind == "turn" and self.turns:
            self.turn()

    def statement_in_loop(self, depth: int) -> None:
        """Loops and branches only: the tokens of a move are counted once."""
        self.labels += 1
        label = f"l{self.labels}"
        self.set(12 + depth, int(self.rng.integers(0, 4)))
        self.add(f"loop count=r{12 + depth} end={label}")
        self.scalar()
        self.add(f"{label}:")

    def turn(self) -> None:
        """Transposed tiles: up to three groups of channels, rows of any alignment, the scratchpad's side of words."""
        rng = self.rng
        tiles, groups = [(1, 1), (2, 1), (3, 1), (1, 2), (1, 3), (0, 1)][int(rng.integers(0, 6))]
        low = (
            int(rng.integers(1024 - 128 * (groups * tiles < 3), PAD - 1024 * max(groups * tiles, 1) + 1))
            & ~127
        )
        self.settle((low, low + 1024 * max(groups * tiles, 1)), True)
        s = self.free()
        split, pitch = (1024, 1024 * groups) if rng.random() < 0.5 or groups > 1 else (0, 1024)
        memory, s0 = int(rng.integers(DATA, DATA + 0x4000)), int(rng.integers(32 * groups, 32 * groups + 100))
        if rng.random() < 0.5:  # as values lie
            memory, s0 = memory & ~127, 128
        values = (low, memory, 32 * groups, tiles, s0, split, int(rng.integers(0, 5000)), pitch)
        for register, value in enumerate(values, 1):
            self.set(register, value)
        self.add(f"transpose pad=r1 memory=r2 bytes=r3 n0=r4 s0=r5 split=r6 s1=r7 pitch=r8 signal={s}")
        self.open.append((s, (low, low + 1024 * max(groups * tiles, 1)), True))

    def free(self) -> int:
        """A semaphore that nothing under way gives."""
        free = [s for s in range(15) if s not in {o[0] for o in self.open}]
        if free:
            return free[int(self.rng.integers(0, len(free)))]
        s = self.open.pop(0)[0]
        self.add(f"sync wait={s}")
        return s

    def move(self, indexed: bool) -> None:
        """A load or a store of runs of any alignment, in its own part of memory, into or from any part of the pad."""
        rng = self.rng
        loads = bool(rng.random() < 0.5)
        n0 = int(rng.integers(0, 5))
        n1 = 1 if indexed else int(rng.integers(0, 4))
        size = int(rng.integers(0, 100))
        pitch = (size + 7 & ~7) + 8 * int(rng.integers(0, 3)) if loads else size + int(rng.integers(0, 9))
        span = max((n0 * n1 - 1) * pitch + (size + 7 & ~7), 8)
        low = int(rng.integers(REGISTERS + TABLES, PAD - span))
        low &= ~7 if loads else -1
        self.settle((low, low + span), loads)
        s = self.free()
        s0, s1 = int(rng.integers(size, size + 40)), int(rng.integers(0, 50))
        if not loads and not indexed:  # stores that do not write on each other
            s1 = n0 * s0 + int(rng.integers(0, 9))
        memory = (
            int(rng.integers(DATA, DATA + 0x4000))
            if loads
            else SCATTERED + 0x1000 * len(self.lines) % 0x16000
        )
        if not loads:
            memory += int(rng.integers(0, 64))
        for register, value in ((1, low), (2, memory), (3, size), (4, n0), (5, s0), (7, s1), (8, pitch)):
            self.set(register, value)
        if indexed:
            self.set(6, REGISTERS + 4 * int(rng.integers(0, TABLES // 4 - n0)))
            name = "gather" if loads else "scatter"
            self.add(f"{name} pad=r1 memory=r2 bytes=r3 n0=r4 s0=r5 table=r6 pitch=r8 signal={s}")
        else:
            self.set(6, n1)
            name = "load" if loads else "store"
            self.add(f"{name} pad=r1 memory=r2 bytes=r3 n0=r4 s0=r5 n1=r6 s1=r7 pitch=r8 signal={s}")
        self.open.append((s, (low, low + span), loads))
