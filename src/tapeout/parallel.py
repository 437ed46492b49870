"""The same function over many inputs: in this process, in several, or on a Ray cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from tapeout.errors import InputError, MissingDependency

T = TypeVar("T")
R = TypeVar("R")


def mapped(
    function: Callable[[T], R], items: Sequence[T], workers: int = 1, ray: str | None = None
) -> Iterator[R]:
    """Results in the order of `items`, each as soon as it and those before it are there.

    workers: processes on this machine; 1 stays in this one. ray: address of a Ray cluster ("local" starts
    one). `function` and the items must be picklable unless everything stays in this process.
    """
    if workers < 1:
        raise InputError("workers", "", workers, "at least 1")
    if ray is not None:
        yield from _on_ray(function, items, ray)
    elif workers == 1 or len(items) < 2:
        yield from map(function, items)
    else:
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(min(workers, len(items))) as pool:
            yield from pool.map(function, items)


def _on_ray(function: Callable[[T], R], items: Sequence[T], address: str) -> Iterator[R]:
    try:
        import ray as library
    except ImportError:
        raise MissingDependency("--ray", "ray") from None
    library.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    try:
        task: Any = library.remote(function)
        waiting = [task.remote(item) for item in items]
        for reference in waiting:
            yield library.get(reference)
    finally:
        library.shutdown()
