"""The same function over many inputs: in this process, in several, or on a Ray cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def ray_session(address: str) -> Iterator[Any]:
    """The Ray library, connected to the cluster at `address` ("local" starts one here) until the end of the block."""
    try:
        import ray
    except ImportError:
        raise MissingDependency("--ray", "ray") from None
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    try:
        yield ray
    finally:
        ray.shutdown()


def _on_ray(function: Callable[[T], R], items: Sequence[T], address: str) -> Iterator[R]:
    with ray_session(address) as ray:
        task: Any = ray.remote(function)
        waiting = [task.remote(item) for item in items]
        for reference in waiting:
            yield ray.get(reference)
