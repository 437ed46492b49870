"""Combinational pieces that several blocks share: count of leading zeros, shifts that remember what they lose."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from tapeout.chip.rtl.block import simulating

NATIVE = 64  # bits that a simulator shifts in one operation


def bits_for_index(n: int) -> int:
    """Width of an index below n, at least 1."""
    return max(1, (n - 1).bit_length())


def leading_zeros(m: Module, value: Value, name: str = "lz") -> Signal:
    """The number of zeros above the highest one, of a value whose width is w; w if it is zero. log2 depth."""
    width = len(value)
    if simulating():
        return _leading_zeros_by_words(m, value, name)
    size = 1 << (width - 1).bit_length() if width > 1 else 1
    padded = Cat(Const((1 << (size - width)) - 1, size - width), value) if size > width else value
    count, zero = _halves(padded)
    result = Signal(range(width + 1), name=name)
    m.d.comb += result.eq(Mux(zero, width, count))
    return result


def _leading_zeros_by_words(m: Module, value: Value, name: str) -> Signal:
    """The same by bisection, in operations on whole words."""
    width = len(value)
    size = 1 << (width - 1).bit_length()
    rest: Value = Cat(Const((1 << (size - width)) - 1, size - width), value) if size > width else value
    bits: list[Value] = []
    step = size // 2
    while step:
        empty = Signal(name=f"{name}_empty{step}")
        kept = Signal(step, name=f"{name}_kept{step}")
        m.d.comb += [empty.eq(~rest[step:].any()), kept.eq(Mux(empty, rest[:step], rest[step:]))]
        bits.insert(0, empty)
        rest, step = kept, step // 2
    result = Signal(range(width + 1), name=name)
    m.d.comb += result.eq(Mux(value.any(), Cat(*bits), width))
    return result


def _halves(value: Value) -> tuple[Value, Value]:
    if len(value) == 1:
        raise ValueError("leading zeros of one bit")
    if len(value) == 2:
        return ~value[1], ~(value[0] | value[1])
    half = len(value) // 2
    low, low_zero = _halves(value[:half])
    high, high_zero = _halves(value[half:])
    count = Cat(Mux(high_zero, low, high), high_zero)
    return count, high_zero & low_zero


def _in_one_word(value: Value, amount: Value) -> bool:
    """Whether a simulator shifts `value` by any `amount` in one operation, and is what is elaborated for."""
    return simulating() and len(value) + (1 << len(amount)) <= NATIVE


def shift_right_sticky(m: Module, value: Value, amount: Value, name: str = "shifted") -> tuple[Value, Value]:
    """(value >> amount, whether a one was shifted out), for any amount."""
    if _in_one_word(value, amount):
        whole, back = Signal(len(value), name=name), Signal(len(value), name=f"{name}_back")
        m.d.comb += [whole.eq(value >> amount), back.eq(whole << amount)]
        return whole, back != value
    lost: Value = Const(0, 1)
    width = len(value)
    for i in range(len(amount)):
        step = 1 << i
        bit = amount[i]
        if step >= width:
            lost = lost | (bit & value.any())
            kept: Value = Mux(bit, 0, value)
        else:
            lost = lost | (bit & value[:step].any())
            kept = Mux(bit, value[step:], value)
        value = Signal(width, name=f"{name}_{i}")
        m.d.comb += value.eq(kept)
    return value, lost


def shift_left(m: Module, value: Value, amount: Value, name: str = "shifted") -> Value:
    """value << amount, cut to the width of value."""
    if _in_one_word(value, amount):
        shifted = Signal(len(value), name=name)
        m.d.comb += shifted.eq(value << amount)
        return shifted
    width = len(value)
    for i in reversed(range(len(amount))):
        step = 1 << i
        kept = Mux(amount[i], Cat(Const(0, step), value)[:width] if step < width else 0, value)
        value = Signal(width, name=f"{name}_{i}")
        m.d.comb += value.eq(kept)
    return value


def increment(m: Module, value: Value, up: Value, name: str = "up") -> Signal:
    """value + up, one bit wider, in logarithmic depth: a bit flips where every bit below it is one."""
    if simulating():
        total = Signal(len(value) + 1, name=name)
        m.d.comb += total.eq(value + up)
        return total
    ones: list[Value] = list(value)  # after step k, ones[i] covers up to 2^k bits that end at i (Sklansky)
    step = 1
    while step < len(ones):
        for i in range(len(ones)):
            if i & step:
                ones[i] = ones[i] & ones[(i & ~(step - 1)) - 1]
        step *= 2
    result = Signal(len(value) + 1, name=name)
    m.d.comb += result.eq(Cat(value, Const(0, 1)) ^ (Cat(Const(1, 1), *ones) & up.replicate(len(value) + 1)))
    return result
