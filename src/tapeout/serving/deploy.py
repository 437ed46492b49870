"""From a model and what it runs on to a pool of replicas: step costs and KV blocks from the estimate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tapeout.chip.spec import ChipSpec
from tapeout.errors import InputError, Phrase
from tapeout.estimate.accelerators import Accelerator
from tapeout.estimate.accelerators import machine as make_machine
from tapeout.estimate.chip import estimate_chips
from tapeout.estimate.chip_constants import MEMORY_RESERVE
from tapeout.estimate.chip_design import DesignArrays
from tapeout.estimate.chip_work import ChipWork, chip_formats
from tapeout.estimate.engines import engine
from tapeout.estimate.fitted import fitted
from tapeout.estimate.parameters import Parameters
from tapeout.estimate.published import formats_of
from tapeout.estimate.step import estimate_step
from tapeout.model.architecture import Model
from tapeout.serving.costs import Array, Evaluate, StepCosts, tabulate
from tapeout.serving.policy import EnginePolicy, Speculation
from tapeout.workload.build import operators
from tapeout.workload.capacity import cache_bytes, weight_bytes
from tapeout.workload.formats import Formats
from tapeout.workload.operators import Step
from tapeout.workload.parallelism import Parallelism

DEFAULT_ENGINE = "vllm-async"  # what most off-the-shelf accelerators are served with today
# Share of memory that serving engines leave unused by default (vLLM's gpu_memory_utilization of 0.9).
ENGINE_RESERVE = 0.10


@dataclass(frozen=True)
class Target:
    """A model on a group of chips: all that serving needs to know of one replica.

    evaluate: seconds and joules of the whole replica for a step; capacity_bytes and idle_watts: per chip.
    """

    name: str
    model: Model
    parallelism: Parallelism
    formats: Formats
    evaluate: Evaluate
    capacity_bytes: float
    idle_watts: float
    reserve: float
    entry_seconds: float = 0.0  # what a request spends before the engine sees it: HTTP, tokeniser, queues

    @property
    def chips(self) -> int:
        """Chips of one replica."""
        return int(self.parallelism.chips)

    @staticmethod
    def chip(
        model: Model, spec: ChipSpec, parallelism: Parallelism | None = None, formats: Formats | None = None
    ) -> Target:
        """`model` on a group of our chips."""
        p = parallelism or Parallelism()
        p.check(model)
        if p.chips > 1 and not spec.links.scale_up_lanes:
            need = f"links among the {int(p.chips)} chips of a replica"
            raise InputError(spec.name, "links.scale_up_lanes", 0, need)
        f = formats or chip_formats(model, spec)
        design = DesignArrays.of(spec)

        def evaluate(step: Step) -> tuple[Array, Array]:
            found = estimate_chips(design, ChipWork.of(model, step, p, f), dtype=np.float64)
            seconds = np.asarray(found.seconds * found.passes, float)
            return seconds, np.asarray(found.joules * found.passes, float) * float(p.chips)

        capacity, idle = float(design.memory_capacity), float(design.idle_watts)
        return Target(spec.name, model, p, f, evaluate, capacity, idle, MEMORY_RESERVE)

    @staticmethod
    def accelerator(
        model: Model,
        sheet: Accelerator,
        parallelism: Parallelism | None = None,
        formats: Formats | None = None,
        backend: str = DEFAULT_ENGINE,
        parameters: Parameters | None = None,
    ) -> Target:
        """`model` on a group of off-the-shelf accelerators under the serving engine `backend` (a generation of
        `tapeout.estimate.engines`), through the calibrated equations. Steps with prompts run eagerly, as
        they do there."""
        p = parallelism or Parallelism()
        p.check(model)
        fit = parameters or fitted()
        f = formats or formats_of(model, "", "", "", [])
        software = engine(backend, fit)
        machine = make_machine(sheet, fit, software)
        skew = machine.sustained.routing_skew

        def evaluate(step: Step) -> tuple[Array, Array]:
            rows = np.asarray(step.decode_sequences) / float(p.attention_dp)
            work = operators(model, step, p, f, skew=skew)
            prompts = np.asarray(step.prefill_sequences * step.prefill_tokens) > 0
            found = [estimate_step(machine, work, rows, eager=eager) for eager in (False, True)]
            seconds = np.where(prompts, found[1].time_s, found[0].time_s)
            joules = np.where(prompts, found[1].energy_j, found[0].energy_j)
            return seconds * float(p.pp), joules * float(p.pp) * float(p.chips)

        capacity, idle = float(machine.memory_capacity), float(machine.power.idle_w)
        return Target(
            sheet.name, model, p, f, evaluate, capacity, idle, ENGINE_RESERVE, software.first_s
        )  # fmt: skip

    @property
    def weight_share(self) -> float:
        """Share of a chip's memory that the weights take."""
        return float(weight_bytes(self.model, self.parallelism, self.formats)) / self.capacity_bytes

    def blocks(self, block_tokens: int = 16) -> tuple[int, int]:
        """(KV blocks of the replica, blocks each sequence holds whatever its length).

        The cache of a sequence is `slope` bytes a token where its context exceeds all windows, plus a
        constant for layers with a window or a state. Raises InputError if the weights leave no room.
        """
        p, far = self.parallelism, 1 << 22
        bytes_at = [float(cache_bytes(self.model, float(n), p, self.formats)) for n in (far, far + 4096)]
        slope = (bytes_at[1] - bytes_at[0]) / 4096
        constant = max(bytes_at[0] - slope * far, 0.0)
        weights = float(weight_bytes(self.model, p, self.formats))
        free = self.capacity_bytes * (1 - self.reserve) - weights
        if slope == 0:  # every layer has a window or a state: count in constant parts
            slope, constant = constant / block_tokens, 0.0
        count = int(free / (slope * block_tokens)) if free > 0 else 0
        fixed = math.ceil(constant / (slope * block_tokens))
        if count <= fixed:
            need = f"at least {weights / (1 - self.reserve) / 2**30:.1f} GiB per chip; use more chips (tp, ep, pp)"
            found = Phrase(f"{self.capacity_bytes / 2**30:.1f} GiB on {self.chips} chip(s)")
            raise InputError(self.name, f"memory for {self.model.name}", found, need)
        return count * int(p.attention_dp), fixed

    def policy(
        self,
        max_sequences: int = 256,
        max_step_tokens: int = 8192,
        speculation: Speculation | None = None,
        chunked_prefill: bool = True,
        prefix_caching: bool = True,
    ) -> EnginePolicy:
        """An engine for this target, with all its free memory as KV blocks."""
        blocks, fixed = self.blocks()
        return EnginePolicy(
            kv_blocks=blocks,
            max_sequences=max_sequences,
            max_step_tokens=max_step_tokens,
            sequence_blocks=fixed,
            speculation=speculation or Speculation(),
            chunked_prefill=chunked_prefill,
            prefix_caching=prefix_caching,
        )

    def costs(self, policy: EnginePolicy, max_context: int | None = None) -> StepCosts:
        """Step costs over everything that `policy` allows."""
        longest = min(max_context or self.model.context, policy.kv_blocks * policy.block_tokens)
        return tabulate(
            self.evaluate,
            policy.max_sequences,
            max(longest, 128),
            max(policy.max_step_tokens, 32),
            self.idle_watts * self.chips,
            decode_tokens=1.0 + policy.speculation.drafts,
        )
