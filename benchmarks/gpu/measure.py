"""Measure one GPU: the same kernels that the priors come from, on hardware at hand.

    python benchmarks/gpu/measure.py --out h200.csv

Needs PyTorch with CUDA and nothing else. Measured, with CUDA graphs so that the host takes no part: HBM copy; matrix
products in BF16 and FP8 over the shapes of decoding and prefill; decode attention over caches of several lengths; a
mixture-of-experts layer as grouped products; and chains of small dependent kernels, launched one by one and from a
graph, which give the overhead of a kernel and of its launch. Each line of the table: kind, format, shape, microseconds
(median), and the share of the datasheet's peak or bandwidth where `--peak-tflops` and `--bandwidth` are given.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Row = tuple[str, str, str, float, float, float]  # kind, format, shape, µs, multiply-accumulates, bytes
WARM, REPEATS, INNER = 3, 15, 20


def timed(torch: Any, run: Callable[[], Any], inner: int = INNER) -> float:
    """Median microseconds of one `run`, replayed from a CUDA graph `inner` times in a row."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(WARM):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(inner):
            run()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    found = []
    for _ in range(REPEATS):
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        found.append(start.elapsed_time(end) * 1e3 / inner)
    return statistics.median(found)


def copies(torch: Any) -> Iterator[Row]:
    """HBM to HBM, from what a kernel hides to what streams."""
    for size in (2**20, 2**24, 2**28, 2**31):
        a = torch.empty(size, dtype=torch.uint8, device="cuda")
        b = torch.empty_like(a)
        yield "copy", "uint8", f"{size}", timed(torch, lambda a=a, b=b: b.copy_(a)), 0.0, 2.0 * size


def products(torch: Any) -> Iterator[Row]:
    """m × k by k × n in BF16 and, where the device has it, FP8. Weights rotate, so that no cache holds them."""
    for n, k in ((8192, 8192), (28672, 8192), (8192, 28672), (4096, 4096), (1280, 8192)):
        copies_of = max(2, int(3e8 // (n * k)))
        for m in (1, 8, 16, 32, 64, 128, 256, 1024, 4096, 8192):
            x = torch.randn(m, k, device="cuda", dtype=torch.bfloat16)
            ws = [torch.randn(n, k, device="cuda", dtype=torch.bfloat16) for _ in range(copies_of)]

            def bf16(x: Any = x, ws: Any = ws) -> None:
                for w in ws:
                    torch.nn.functional.linear(x, w)

            us = timed(torch, bf16, 2) / copies_of
            yield "gemm", "bf16", f"{m}x{n}x{k}", us, float(m * n * k), 2.0 * (n * k + m * k + m * n)
            if not hasattr(torch, "float8_e4m3fn") or torch.cuda.get_device_capability()[0] < 9 or m < 16:
                continue
            one = torch.ones((), device="cuda")
            x8, ws8 = x.to(torch.float8_e4m3fn), [w.to(torch.float8_e4m3fn) for w in ws]

            def fp8(x8: Any = x8, ws8: Any = ws8, one: Any = one) -> None:
                for w in ws8:
                    torch._scaled_mm(x8, w.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)

            us = timed(torch, fp8, 2) / copies_of
            yield "gemm", "fp8", f"{m}x{n}x{k}", us, float(m * n * k), float(n * k + m * k + 2 * m * n)


def attention(torch: Any) -> Iterator[Row]:
    """One new token over a cache, 64 query heads sharing 8 key heads of 128."""
    heads, groups, width = 64, 8, 128
    for batch in (1, 8, 64):
        for context in (1024, 8192, 32768):
            if batch * context > 1_100_000:
                continue
            q = torch.randn(batch, heads, 1, width, device="cuda", dtype=torch.bfloat16)
            k, v = (
                torch.randn(batch, groups, context, width, device="cuda", dtype=torch.bfloat16) for _ in "kv"
            )

            def run(q: Any = q, k: Any = k, v: Any = v) -> Any:
                return torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)

            cache = 2.0 * 2 * batch * groups * context * width
            macs = 2.0 * batch * heads * context * width
            yield "decode attention", "bf16", f"{batch}x{context}", timed(torch, run, 4), macs, cache


def experts(torch: Any) -> Iterator[Row]:
    """Grouped products of 32 experts of 2880 × 2880, every expert woken, `rows` rows each."""
    count, hidden = 32, 2880
    up = torch.randn(count, hidden, 2 * hidden, device="cuda", dtype=torch.bfloat16)
    down = torch.randn(count, hidden, hidden, device="cuda", dtype=torch.bfloat16)
    for rows in (1, 4, 16, 64, 256):
        x = torch.randn(count, rows, hidden, device="cuda", dtype=torch.bfloat16)

        def run(x: Any = x) -> Any:
            gate, linear = torch.bmm(x, up).chunk(2, dim=-1)
            return torch.bmm(torch.nn.functional.silu(gate) * linear, down)

        macs = 3.0 * count * rows * hidden * hidden
        yield (
            "experts",
            "bf16",
            f"{count}x{rows}x{hidden}",
            timed(torch, run, 4),
            macs,
            6.0 * count * hidden * hidden,
        )


def chains(torch: Any) -> Iterator[Row]:
    """A hundred dependent kernels of one block each: from a graph, and launched one by one."""
    x = torch.zeros(1024, device="cuda")

    def run() -> None:
        for _ in range(100):
            x.add_(1.0)

    yield "chain of 100, graph", "f32", "1024", timed(torch, run, 1) / 100, 0.0, 0.0
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    found = []
    for _ in range(REPEATS):
        torch.cuda.synchronize()
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        found.append(start.elapsed_time(end) * 1e3 / 100)
    yield "chain of 100, launched", "f32", "1024", statistics.median(found), 0.0, 0.0


def main() -> None:
    """Measure and write the table, with its provenance in the first lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu.csv"))
    parser.add_argument(
        "--peak-tflops", type=float, help="dense BF16 peak of the datasheet; FP8 is taken as twice it"
    )
    parser.add_argument("--bandwidth", type=float, help="GB/s of the datasheet")
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        sys.exit("measure.py needs PyTorch")
    if not torch.cuda.is_available():
        sys.exit("measure.py needs a CUDA device")
    torch.manual_seed(0)
    name = torch.cuda.get_device_name()
    with options.out.open("w", newline="", encoding="utf-8") as f:
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        f.write(
            f"# {name}, {day}, PyTorch {torch.__version__}, CUDA {torch.version.cuda}, benchmarks/gpu/measure.py\n"
        )
        writer = csv.writer(f)
        writer.writerow(["kind", "format", "shape", "microseconds", "share_of_peak", "share_of_bandwidth"])
        for part in (copies, products, attention, experts, chains):
            for kind, number, shape, us, macs, size in part(torch):
                peak = (options.peak_tflops or 0) * 1e12 / 2 * (2 if number == "fp8" else 1)
                of_peak = f"{macs / (us * 1e-6) / peak:.4f}" if peak and macs else ""
                moved = (
                    f"{size / (us * 1e-6) / (options.bandwidth * 1e9):.4f}"
                    if options.bandwidth and size
                    else ""
                )
                writer.writerow([kind, number, shape, f"{us:.3f}", of_peak, moved])
                print(f"{kind:24s} {number:5s} {shape:18s} {us:10.2f} us  {of_peak:>7s} {moved:>7s}")
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
