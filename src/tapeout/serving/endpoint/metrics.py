"""Prometheus metrics under the names of vLLM's (so that its dashboards and load generators read them), and the chip's.

https://docs.vllm.ai/en/latest/design/metrics.html; the text format is that of
https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tapeout.serving.endpoint.job import Job

if TYPE_CHECKING:
    from tapeout.serving.endpoint.scheduler import Plan, Scheduler

SECONDS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
CHIP_SECONDS = tuple(m * 10.0**e for e in range(-6, 2) for m in (1, 2, 5))
TOKENS = tuple(float(m * 10**e) for e in range(7) for m in (1, 2, 5))
REASONS = ("stop", "length", "abort", "error")


@dataclass
class Histogram:
    """Counts by bucket; observed in one thread, read in any."""

    help: str
    edges: tuple[float, ...]
    counts: list[int] = field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.edges) + 1)

    def observe(self, value: float) -> None:
        """One more value."""
        self.counts[bisect_left(self.edges, value)] += 1
        self.total += value

    def lines(self, name: str, labels: str) -> list[str]:
        """In the text format."""
        found, running = [], 0
        counts = list(self.counts)
        for edge, count in zip((*(f"{e:g}" for e in self.edges), "+Inf"), counts, strict=True):
            running += count
            found.append(f'{name}_bucket{{{labels},le="{edge}"}} {running}')
        return [*found, f"{name}_sum{{{labels}}} {self.total!r}", f"{name}_count{{{labels}}} {running}"]


def _histograms() -> dict[str, Histogram]:
    v, t = "vllm:", "tapeout:chip_"
    wall = "seconds of wall time"
    return {
        v + "time_to_first_token_seconds": Histogram(f"Time to first token, {wall}.", SECONDS),
        v + "inter_token_latency_seconds": Histogram(f"Time between tokens, {wall}.", SECONDS),
        v + "request_time_per_output_token_seconds": Histogram(
            f"Mean time per output token of a request, {wall}.", SECONDS
        ),
        v + "e2e_request_latency_seconds": Histogram(f"Request latency, {wall}.", SECONDS),
        v + "request_queue_time_seconds": Histogram(f"Time waiting, {wall}.", SECONDS),
        v + "request_inference_time_seconds": Histogram(f"Time running, {wall}.", SECONDS),
        v + "request_prefill_time_seconds": Histogram(f"Time in prefill, {wall}.", SECONDS),
        v + "request_decode_time_seconds": Histogram(f"Time in decode, {wall}.", SECONDS),
        v + "request_prompt_tokens": Histogram("Prompt tokens of a request.", TOKENS),
        v + "request_generation_tokens": Histogram("Generated tokens of a request.", TOKENS),
        v + "request_params_max_tokens": Histogram("max_tokens of a request.", TOKENS),
        v + "request_params_n": Histogram("n of a request.", TOKENS),
        v + "iteration_tokens_total": Histogram("Tokens computed in a step.", TOKENS),
        t + "time_to_first_token_seconds": Histogram("Time to first token in chip time.", CHIP_SECONDS),
        t + "request_time_per_output_token_seconds": Histogram(
            "Mean time per output token of a request in chip time.", CHIP_SECONDS
        ),
        t + "e2e_request_latency_seconds": Histogram("Request latency in chip time.", CHIP_SECONDS),
        t + "step_seconds": Histogram("Time of a step in chip time.", CHIP_SECONDS),
    }


class Metrics:
    """Everything that /metrics reports. Written by the engine's thread (`http` by the event loop's)."""

    def __init__(self, model: str, kv_blocks: int) -> None:
        quoted = model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        self.labels = f'model_name="{quoted}",engine="0"'
        self.kv_blocks = kv_blocks
        self.histograms = _histograms()
        self.gauges = dict.fromkeys(("running", "waiting", "kv_usage"), 0.0)
        self.counters = {
            "vllm:prompt_tokens": 0.0,
            "vllm:generation_tokens": 0.0,
            "vllm:num_preemptions": 0.0,
            "vllm:prefix_cache_queries": 0.0,
            "vllm:prefix_cache_hits": 0.0,
            "tapeout:chip_busy_seconds": 0.0,
            "tapeout:chip_joules": 0.0,
            "tapeout:steps": 0.0,
        }
        self.finished = dict.fromkeys(REASONS, 0)
        self.responses: dict[int, int] = {}

    # --- the engine's thread ------------------------------------------------------------------------

    def gauge(self, s: Scheduler) -> None:
        """The state of the scheduler after a step."""
        self.gauges = {
            "running": float(s.used_sequences),
            "waiting": float(sum(len(j.family) for j in s.waiting)),
            "kv_usage": s.used / self.kv_blocks,
        }
        self.counters["vllm:num_preemptions"] = s.preemptions
        self.counters["vllm:prefix_cache_queries"] = s.queried
        self.counters["vllm:prefix_cache_hits"] = s.hits

    def step(self, plan: Plan, seconds: float, joules: float) -> None:
        """A step was run."""
        c = self.counters
        c["vllm:prompt_tokens"] += sum(n for _, n in plan.chunks)
        c["tapeout:chip_busy_seconds"] += seconds
        c["tapeout:chip_joules"] += joules
        c["tapeout:steps"] += 1
        self.histograms["vllm:iteration_tokens_total"].observe(plan.tokens)
        self.histograms["tapeout:chip_step_seconds"].observe(seconds)

    def token(self, job: Job, wall: float) -> None:
        """A token came out."""
        self.counters["vllm:generation_tokens"] += 1
        if job.wall_last:
            self.histograms["vllm:inter_token_latency_seconds"].observe(wall - job.wall_last)
        else:
            self.histograms["vllm:time_to_first_token_seconds"].observe(wall - job.wall_arrival)
            self.histograms["tapeout:chip_time_to_first_token_seconds"].observe(
                job.ledger.first_token - job.ledger.arrival
            )

    def ended(self, job: Job, reason: str) -> None:
        """A sequence has ended; latencies are of those that ended well."""
        self.finished[reason] += 1
        if reason not in ("stop", "length"):
            return
        h, ledger, last = self.histograms, job.ledger, job.wall_last
        per_token = max(job.produced - 1, 1)
        for name, value in (
            ("vllm:e2e_request_latency_seconds", last - job.wall_arrival),
            ("vllm:request_queue_time_seconds", job.wall_start - job.wall_arrival),
            ("vllm:request_inference_time_seconds", last - job.wall_start),
            ("vllm:request_prefill_time_seconds", job.wall_first - job.wall_start),
            ("vllm:request_decode_time_seconds", last - job.wall_first),
            ("vllm:request_prompt_tokens", len(job.prompt)),
            ("vllm:request_generation_tokens", job.produced),
            ("vllm:request_params_max_tokens", job.max_tokens),
            ("tapeout:chip_e2e_request_latency_seconds", ledger.finish - ledger.arrival),
        ):
            h[name].observe(value)
        if job.produced > 1:
            h["vllm:request_time_per_output_token_seconds"].observe((last - job.wall_first) / per_token)
            h["tapeout:chip_request_time_per_output_token_seconds"].observe(
                (ledger.finish - ledger.first_token) / per_token
            )

    # --- the event loop -----------------------------------------------------------------------------

    def accepted(self, n: int) -> None:
        """A request for `n` choices was queued."""
        self.histograms["vllm:request_params_n"].observe(n)

    def response(self, status: int) -> None:
        """A response was begun."""
        self.responses[status] = self.responses.get(status, 0) + 1

    def text(self) -> str:
        """In the Prometheus text format."""
        lines = []

        def metric(name: str, kind: str, help: str, values: list[str]) -> None:
            lines.extend([f"# HELP {name} {help}", f"# TYPE {name} {kind}", *values])

        gauges = (
            ("vllm:num_requests_running", "running", "Sequences in the batch."),
            ("vllm:num_requests_waiting", "waiting", "Sequences waiting."),
            ("vllm:kv_cache_usage_perc", "kv_usage", "Share of KV blocks in use; 1 is all."),
        )
        now = self.gauges
        for name, key, help in gauges:
            metric(name, "gauge", help, [f"{name}{{{self.labels}}} {now[key]!r}"])
        for name, value in self.counters.items():
            help = name.split(":")[1].replace("_", " ").capitalize() + "."
            metric(f"{name}_total", "counter", help, [f"{name}_total{{{self.labels}}} {value!r}"])
        metric(
            "vllm:request_success_total",
            "counter",
            "Sequences ended, by reason.",
            [
                f'vllm:request_success_total{{{self.labels},finished_reason="{r}"}} {n}'
                for r, n in self.finished.items()
            ],
        )
        metric(
            "tapeout:http_responses_total",
            "counter",
            "Responses, by status.",
            [f'tapeout:http_responses_total{{code="{s}"}} {n}' for s, n in sorted(self.responses.items())],
        )
        for name, histogram in self.histograms.items():
            metric(name, "histogram", histogram.help, histogram.lines(name, self.labels))
        return "\n".join(lines) + "\n"
