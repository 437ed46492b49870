"""The native library's threads: any number of them, several callers at once, after a fork, and its switches."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numeric_inputs import same, wide

from tapeout.numerics import fast, library, product
from tapeout.numerics.formats import FORMATS, Mx

pytestmark = pytest.mark.skipif(library.LIBRARY is None, reason="the native library is not built")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Threads as they were."""
    yield
    library.set_threads(os.cpu_count() or 1)


def work(seed: int) -> tuple[Mx, fast.Weights, np.ndarray]:
    rng = np.random.default_rng(seed)
    w = fast.quantise(wide(rng, (700, 512), 16), FORMATS["mxfp4"])
    a = fast.quantise(wide(rng, (9, 512), 16), FORMATS["mxint8"])
    return a, fast.as_weights(w), product.matmul(a, w)


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_any_number_of_threads(threads: int) -> None:
    library.set_threads(threads)
    a, w, expected = work(threads)
    for _ in range(60):
        assert same(fast.matmul(a, w), expected)


def test_callers_side_by_side() -> None:
    library.set_threads(3)
    jobs = [work(i) for i in range(4)]

    def run(i: int) -> bool:
        a, w, expected = jobs[i % 4]
        return same(fast.matmul(a, w), expected)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(200)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_computes_too() -> None:
    library.set_threads(2)
    a, w, expected = work(0)
    assert same(fast.matmul(a, w), expected)
    child = os.fork()
    if child == 0:
        os._exit(0 if same(fast.matmul(a, w), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("choice,level", [("0", "numpy"), ("scalar", "scalar")])
def test_the_environment_limits_it(choice: str, level: str) -> None:
    code = "from tapeout.numerics import library; print(library.level())"
    env = {**os.environ, "TAPEOUT_NATIVE": choice}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == level


def test_wrong_arguments_are_refused() -> None:
    assert library.LIBRARY is not None
    with pytest.raises(TypeError):
        library.LIBRARY.add(1, 2)
    x = np.zeros((8, 8), np.float32)[:, ::2]
    with pytest.raises((BufferError, ValueError)):
        library.LIBRARY.add(x, x, 8, x)
