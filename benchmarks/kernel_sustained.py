"""Sustained fractions and overheads of single kernels, from published kernel latencies: where the priors come from.

    python benchmarks/kernel_sustained.py ../shared/validation/kernels

The folder holds `ACCELERATOR/{gemm,attention,moe,comm}/ENGINE/*.parquet` of the aiconfigurator performance
database (Apache-2.0). Each line: the fitted figures of
`overhead + max(compute, memory) + exposed / (1 + exposed) × min(…)`, then the median and the mean error.
`src/tapeout/estimate/parameters.py` takes its priors from these lines.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from arro3.io import read_parquet

from tapeout.estimate.accelerators import Accelerator, accelerator
from tapeout.estimate.least_squares import least_squares

Table = dict[str, np.ndarray]
SAMPLE = 3000  # rows of a table that are fitted, spread evenly
GEMM_BYTES = {
    "bfloat16": (2.0, "bf16"),
    "fp8": (1.0, "fp8"),
    "fp8_block": (1.0, "fp8"),
    "nvfp4": (0.5625, "fp4"),
}
MOE_BYTES = {"bfloat16": (2.0, "bf16"), "fp8_block": (1.0, "fp8"), "w4a16_mxfp4": (0.53125, "bf16")}
SPREAD = 1.0  # wide: kernels speak for themselves


def read(path: Path) -> Table:
    """Columns of a Parquet file as arrays."""
    table = read_parquet(path).read_all()
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


def chosen(table: Table, keep: np.ndarray) -> Table:
    """Rows where `keep`, at most `SAMPLE`, spread evenly."""
    at = np.flatnonzero(keep)
    at = at[:: max(len(at) // SAMPLE, 1)]
    return {name: column[at] for name, column in table.items()}


def report(
    label: str, t: Table, names: list[str], start: list[float], model: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Fit `model` of exp(x) to the latencies and print what came out."""
    latency = t["latency"].astype(float) * 1e-3
    prior = np.log(start)
    fit = least_squares(
        lambda x: np.log(model(np.exp(x)) / latency) / 0.1, prior, np.full(len(prior), SPREAD)
    )
    error = np.abs(model(np.exp(fit.x)) / latency - 1)
    figures = ", ".join(
        f"{n} {v * 1e6:.1f} µs" if n.endswith("_s") else f"{n} {v:.3g}"
        for n, v in zip(names, np.exp(fit.x), strict=True)
    )
    quality = f"(median {100 * np.median(error):.1f} %, mean {100 * error.mean():.1f} %)"
    print(f"{label:58s} {len(latency):5d} rows  {figures}  {quality}")


def gemm(sheet: Accelerator, path: Path) -> None:
    """Matrix products by format: share of the peak, of the bandwidth, overhead, overlap."""
    t = read(path)
    bandwidth = sheet.need("memory.bandwidth", "GB/s") * 1e9
    for dtype, (size, arithmetic) in GEMM_BYTES.items():
        if arithmetic not in sheet.peaks:
            continue
        for source in sorted(set(t["kernel_source"][t["gemm_dtype"] == dtype])):
            keep = (
                (t["gemm_dtype"] == dtype)
                & (t["kernel_source"] == source)
                & (t["n"] >= 512)
                & (t["k"] >= 512)
            )
            if keep.sum() < 500:
                continue
            d = chosen(t, keep)
            m, n, k = (d[c].astype(float) for c in "mnk")
            compute, moved = (
                m * n * k / sheet.peaks[arithmetic],
                (n * k * size + m * k * size + 2 * m * n) / bandwidth,
            )

            def model(p: np.ndarray, compute: np.ndarray = compute, moved: np.ndarray = moved) -> np.ndarray:
                a, b = compute / p[0], moved / p[1]
                return p[2] + np.maximum(a, b) + p[3] / (1 + p[3]) * np.minimum(a, b)

            report(f"{sheet.key} gemm {dtype} {source[:26]}", d, ["matrix", "memory", "overhead_s", "exposed"],
                   [0.7, 0.8, 4e-6, 0.2], model)  # fmt: skip


def decode_attention(sheet: Accelerator, path: Path) -> None:
    """One new token over a cache: share of the bandwidth, of the BF16 peak, overhead."""
    t = read(path)
    bandwidth = sheet.need("memory.bandwidth", "GB/s") * 1e9
    windowed = t.get("window_size", np.zeros(len(t["latency"]))) > 0
    for width in (64, 128):
        for cache, size in (("bfloat16", 2), ("fp8", 1)):
            keep = (
                ~windowed & (t["head_dim"] == width) & (t["kv_cache_dtype"] == cache) & (t["num_heads"] >= 4)
            )
            keep &= (t["step"] > 500) & (t["batch_size"] <= 256) & (t["batch_size"] * t["step"] < 3_000_000)
            if keep.sum() < 200:
                continue
            d = chosen(t, keep)
            keys = d["batch_size"] * (d["step"] + 1.0)
            moved = keys * d["num_key_value_heads"] * width * 2 * size / bandwidth
            compute = keys * d["num_heads"] * width * 2 / sheet.peaks["bf16"]

            def model(p: np.ndarray, compute: np.ndarray = compute, moved: np.ndarray = moved) -> np.ndarray:
                return p[2] + np.maximum(moved / p[0], compute / p[1])

            report(f"{sheet.key} decode attention {width} wide, {cache} cache", d, ["memory", "matrix", "overhead_s"],
                   [0.8, 0.3, 1e-5], model)  # fmt: skip


def prefill_attention(sheet: Accelerator, path: Path) -> None:
    """Causal attention over prompts: share of the BF16 peak, overhead."""
    t = read(path)
    windowed = t.get("window_size", np.zeros(len(t["latency"]))) > 0
    for width in (64, 128):
        keep = (
            ~windowed & (t["head_dim"] == width) & (t["kv_cache_dtype"] == "bfloat16") & (t["num_heads"] >= 4)
        )
        keep &= (t["isl"] >= 256) & (t["batch_size"] <= 16)
        if keep.sum() < 200:
            continue
        d = chosen(t, keep)
        rows = d["batch_size"] * d["num_heads"] * d["isl"].astype(float)
        compute = rows * d["isl"] * width / sheet.peaks["bf16"]

        def model(p: np.ndarray, compute: np.ndarray = compute, rows: np.ndarray = rows) -> np.ndarray:
            return p[1] + compute / p[0] + rows * p[2] * 1e-12

        report(
            f"{sheet.key} prefill attention {width} wide",
            d,
            ["matrix", "overhead_s", "ps a row"],
            [0.6, 1e-5, 100],
            model,
        )


def experts(sheet: Accelerator, path: Path) -> None:
    """A whole mixture-of-experts layer, routing included: shares, overhead, rows that a tile is padded to."""
    t = read(path)
    bandwidth = sheet.need("memory.bandwidth", "GB/s") * 1e9
    for dtype, (size, arithmetic) in MOE_BYTES.items():
        if arithmetic not in sheet.peaks:
            continue
        for source in sorted(set(t["kernel_source"][t["moe_dtype"] == dtype])):
            keep = (t["moe_dtype"] == dtype) & (t["kernel_source"] == source) & (t["moe_ep_size"] == 1)
            keep &= (t["hidden_size"] >= 2048) & (t["inter_size"] / t["moe_tp_size"] >= 128)
            balanced = keep & (t["distribution"] == "balanced")
            keep = balanced if balanced.any() else keep
            if keep.sum() < 100:
                continue
            d = chosen(t, keep)
            count, picks, tokens = (d[c].astype(float) for c in ("num_experts", "topk", "num_tokens"))
            touched = count * (1 - (1 - picks / count) ** tokens)
            each = 3.0 * d["hidden_size"] * d["inter_size"] / d["moe_tp_size"]
            moved, peak = touched * each * size / bandwidth, sheet.peaks[arithmetic]
            spill = tokens * picks * d["hidden_size"] * 4 / (0.5 * bandwidth)

            def model(p: np.ndarray, m: np.ndarray = moved, e: np.ndarray = each, n: np.ndarray = tokens * picks,
                      t: np.ndarray = touched, peak: float = peak, s: np.ndarray = spill) -> np.ndarray:  # fmt: skip
                return p[2] + np.maximum(m / p[0], (n + p[3] * t) * e / (peak * p[1])) + s

            report(f"{sheet.key} experts {dtype} {source[-36:]}", d, ["memory", "matrix", "overhead_s", "rows_half"],
                   [0.7, 0.4, 4e-5, 40.0], model)  # fmt: skip


def collectives(sheet: Accelerator, path: Path) -> None:
    """All-reduce: latency among two, each doubling after that, share of the link."""
    t = read(path)
    link = sheet.need("network.scale_up", "GB/s") * 1e9
    for source in sorted(set(t["kernel_source"])):
        keep = (
            (t["kernel_source"] == source)
            & (t["op_name"] == "all_reduce")
            & (t["message_size"] <= 30_000_000)
        )
        if "nccl_dtype" in t:
            keep &= t["nccl_dtype"] == "half"
        if keep.sum() < 20:
            continue
        d = chosen(t, keep)
        group = d["num_gpus"].astype(float)
        size = d["message_size"] * (2.0 if "nccl_dtype" in t else 1.0)  # one counts elements, the other bytes
        wire = 2 * (group - 1) / group * size / link

        def model(p: np.ndarray, wire: np.ndarray = wire, group: np.ndarray = group) -> np.ndarray:
            return p[0] + np.log2(group / 2) * p[1] + wire / p[2]

        report(
            f"{sheet.key} all-reduce {source}", d, ["two_s", "doubling_s", "link"], [6e-6, 1e-6, 0.4], model
        )


KINDS: dict[str, Callable[[Accelerator, Path], None]] = {
    "gemm_perf.parquet": gemm,
    "generation_attention_perf.parquet": decode_attention,
    "context_attention_perf.parquet": prefill_attention,
    "moe_perf.parquet": experts,
    "custom_allreduce_perf.parquet": collectives,
    "nccl_perf.parquet": collectives,
}


def main() -> None:
    """Fit every table below the folder."""
    root = Path(sys.argv[1])
    for path in sorted(root.rglob("*.parquet")):
        if path.name in KINDS:
            KINDS[path.name](accelerator(path.relative_to(root).parts[0]), path)


if __name__ == "__main__":
    main()
