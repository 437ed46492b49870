"""Scheduler settings of published deployments that their result tables leave out.

A benchmark's public launch script says how the engine was set; the table of its results often does not. Where a
row is recognisably a run of such a script, the setting is read from here. These are settings, the same for every row
of the script, and come from the script, not from the results.
"""

from __future__ import annotations

from dataclasses import dataclass

from tapeout.model.architecture import Model


@dataclass(frozen=True)
class Deployment:
    """Runs of one launch script, and the scheduling steps for which its engine holds a prompt back to batch it
    with others (`batch_wait_timeout_iters` of TensorRT-LLM)."""

    backend: str
    family: str
    hidden: int
    prompt: int  # nominal tokens
    output: int
    tp_below: int
    wait_steps: float
    source: str


DEPLOYMENTS = (
    Deployment(
        backend="trtllm",
        family="llama",
        hidden=8192,
        prompt=1024,
        output=1024,
        tp_below=8,
        wait_steps=20.0,
        source="SemiAnalysisAI/InferenceX, benchmarks/70b_fp8_h200_trt_slurm.sh and its siblings for B200:"
        " batch_wait_timeout_iters 20, batch_wait_max_tokens_ratio 0.9 where both lengths are 1024 and tp < 8",
    ),
)


def wait_steps(model: Model, backend: str, prompt: float, output: float, tp: int) -> float:
    """Scheduling steps that a prompt is held back for in a run with these labels; 0 where no script says so."""
    for d in DEPLOYMENTS:
        same = (d.backend, d.family, d.hidden) == (backend, model.family, model.hidden)
        if same and (prompt, output) == (d.prompt, d.output) and tp < d.tp_below:
            return d.wait_steps
    return 0.0
