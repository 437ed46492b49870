"""Sobol's quasi-random sequence in up to 32 dimensions, and Latin supercube samples of it in any number.

Dimension d takes the d-th primitive polynomial over GF(2) and odd initial numbers m_i < 2^i; any such choice is a
digital (t, s)-sequence in base 2 whose one-dimensional projections are (0, 1)-sequences (Sobol, 1967; Bratley and Fox,
ACM TOMS 14, 1988). The shipped table holds, of several random choices for each dimension, the one whose pairs with all
earlier dimensions fill their squares most evenly at 256, 1,024 and 4,096 points. A digital shift randomises it.

Pairs of high dimensions of any such sequence are uneven at the lengths used here, which feigns effects
that are not there.
So a long vector of inputs is cut into blocks, each sampled by the first dimensions of the sequence, its
points in a random order of their own (Latin supercube sampling: Owen, ACM TOMACS 8, 1998).
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

BITS = 32


def _multiply(a: int, b: int, polynomial: int, degree: int) -> int:
    """a · b modulo a polynomial over GF(2)."""
    found = 0
    while b:
        if b & 1:
            found ^= a
        b >>= 1
        a <<= 1
        if a >> degree & 1:
            a ^= polynomial
    return found


def _power(exponent: int, polynomial: int, degree: int) -> int:
    """x^exponent modulo a polynomial."""
    found, base = 1, 2 if degree > 1 else 1
    while exponent:
        if exponent & 1:
            found = _multiply(found, base, polynomial, degree)
        base = _multiply(base, base, polynomial, degree)
        exponent >>= 1
    return found


def _prime_factors(n: int) -> set[int]:
    found, p = set(), 2
    while p * p <= n:
        while n % p == 0:
            found.add(p)
            n //= p
        p += 1
    return found | ({n} if n > 1 else set())


def is_primitive(polynomial: int) -> bool:
    """Whether x has the order 2^degree - 1 modulo the polynomial (bit i is the coefficient of x^i)."""
    degree = polynomial.bit_length() - 1
    if degree < 1 or not polynomial & 1:
        return False
    if degree == 1:
        return polynomial == 3
    order = (1 << degree) - 1
    if _power(order, polynomial, degree) != 1:
        return False
    return all(_power(order // p, polynomial, degree) != 1 for p in _prime_factors(order))


@cache
def _initial() -> tuple[tuple[int, tuple[int, ...]], ...]:
    """(polynomial, initial numbers m_1, m_2, …) of the dimensions after the first, from the shipped table."""
    text = files("tapeout.fleet.tables").joinpath("sobol_directions.txt").read_text(encoding="utf-8")
    rows = [tuple(map(int, line.split())) for line in text.splitlines() if line and line[0] != "#"]
    return tuple((r[0], r[1:]) for r in rows)


@cache
def _directions(dimensions: int) -> NDArray[np.uint32]:
    """[BITS, dimensions] direction numbers. Raises ValueError beyond what the table has."""
    table = _initial()
    if dimensions > len(table) + 1:
        raise ValueError(f"{dimensions} dimensions; the table has {len(table) + 1}")
    found = np.zeros((BITS, dimensions), dtype=np.uint32)
    found[:, 0] = [1 << (BITS - 1 - i) for i in range(BITS)]  # van der Corput
    for d in range(1, dimensions):
        polynomial, first = table[d - 1]
        degree, m = len(first), list(first)
        for i in range(degree, BITS):
            new = m[i - degree] ^ (m[i - degree] << degree)
            for k in range(1, degree):
                if polynomial >> (degree - k) & 1:
                    new ^= m[i - k] << k
            m.append(new)
        found[:, d] = [(m[i] << (BITS - 1 - i)) & 0xFFFFFFFF for i in range(BITS)]
    return found


def sobol(samples: int, dimensions: int, seed: int = 0) -> NDArray[np.float64]:
    """[samples, dimensions] points in (0, 1), shifted digitally by `seed`. Best with a power of two of samples."""
    v = _directions(dimensions)
    index = np.arange(samples, dtype=np.uint32)
    found = np.zeros((samples, dimensions), dtype=np.uint32)
    for bit in range(max(int(samples - 1).bit_length(), 1)):
        found[(index >> np.uint32(bit)) & np.uint32(1) == 1] ^= v[bit]
    shift = np.random.default_rng(seed).integers(0, 1 << BITS, dimensions, dtype=np.uint64).astype(np.uint32)
    return ((found ^ shift).astype(np.float64) + 0.5) / 2.0**BITS


def supercube(samples: int, dimensions: int, seed: int = 0, block: int = 10) -> NDArray[np.float64]:
    """[samples, dimensions] points in (0, 1): blocks of `block` columns from Sobol's sequence, each in an order of its
    own. Best where the inputs that matter most come first."""
    rng = np.random.default_rng([seed, 1])
    found = np.empty((samples, dimensions))
    for start in range(0, dimensions, block):
        wide = min(block, dimensions - start)
        points = sobol(samples, wide, seed + start)
        found[:, start : start + wide] = points if start == 0 else points[rng.permutation(samples)]
    return found
