"""`tapeout.design`: from a model to its chip in one call, and the folder of files that tells about it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tapeout.chip.toml import to_toml
from tapeout.errors import InputError, Phrase, TapeoutError
from tapeout.model import load
from tapeout.report.design_page import design_page
from tapeout.report.summary import summary
from tapeout.search.design import Options, design_chip, fitting
from tapeout.search.explore import Progress
from tapeout.search.owning import Owning
from tapeout.search.result import DesignResult
from tapeout.search.scenario import LONGEST, Objective, Scenario, load_scenario
from tapeout.search.store import Store, to_parquet

FILES = ("chip.toml", "summary.json", "results.parquet", "report.html")


def design(
    model: str | Path,
    *,
    objective: Objective = "tokens_per_joule",
    scenario: Scenario | str | Path | None = None,
    tpot_ms: float | None = None,
    ttft_ms: float | None = None,
    context: int | None = None,
    batch: int | None = None,
    max_watts: float = 1000.0,
    nodes: Sequence[str] = ("N3E",),
    memories: Sequence[str] = ("hbm3e", "hbm4"),
    accelerators: Sequence[str] | None = None,
    owning: Owning | None = None,
    seed: int = 0,
    effort: str = "normal",
    out: str | Path | None = None,
    workers: int = 2,
    ray: str | None = None,
    progress: Progress | None = None,
) -> DesignResult:
    """Design the chip that serves `model` best.

    `model`: a shipped name, a Hugging Face folder or a config.json. `scenario`: traffic and targets, or a TOML file
    of them; `tpot_ms`, `ttft_ms` (milliseconds), `context` (tokens held while decoding, on the mean) and
    `batch` (sequences of a replica) replace its own. `max_watts`: design power of a package. `out`: a folder for
    chip.toml, report.html, results.parquet and summary.json; an interrupted search resumes there.

    >>> result = design("gpt-oss-120b", objective="tokens_per_joule", tpot_ms=20)  # doctest: +SKIP
    >>> result.chip.memory.kind, result.operation.tokens_per_joule  # doctest: +SKIP

    Raises InputError for bad input, DoesNotHold where no chip satisfies the limits.
    """
    found = load(str(model))
    given = scenario if isinstance(scenario, Scenario) else None
    if scenario is not None and given is None:
        given = load_scenario(Path(str(scenario)))
    chosen = steered(given or fitting(found), tpot_ms, ttft_ms, context, batch)
    options = Options(
        objective=objective,
        scenario=chosen,
        max_watts=max_watts,
        nodes=tuple(nodes),
        memories=tuple(memories),
        accelerators=None if accelerators is None else tuple(accelerators),
        owning=owning or Owning(),
        seed=seed,
        effort=effort,
        workers=workers,
        ray=ray,
    )
    options.check(found)
    folder = None if out is None else prepared(Path(out))
    result = design_chip(found, options, folder=folder, progress=progress)
    if folder is not None:
        write(result, folder)
    return result


def steered(
    scenario: Scenario,
    tpot_ms: float | None,
    ttft_ms: float | None,
    context: int | None,
    batch: int | None,
) -> Scenario:
    """`scenario` with what is given in place of its own. Raises InputError for what cannot be."""
    for name, value, high in (("--context", context, LONGEST), ("--batch", batch, 1_000_000)):
        if value is not None and not 1 <= value <= high:
            raise InputError("design", name, value, f"an integer from 1 to {high}")
    for name, limit in (("--tpot", tpot_ms), ("--ttft", ttft_ms)):
        if limit is not None and not 1e-3 <= limit <= 1e9:
            raise InputError("design", name, limit, "milliseconds from 0.001 to 1e9")
    s = scenario.with_context(context) if context is not None else scenario
    changed = {"tpot_ms": tpot_ms, "ttft_ms": ttft_ms, "batch": batch}
    return replace(s, **{k: v for k, v in changed.items() if v is not None})  # type: ignore[arg-type]


def prepared(folder: Path) -> Path:
    """`folder`, made if need be. Raises InputError if it cannot be: before the work, not after it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as e:
        raise InputError(folder, "", Phrase(e.strerror or str(e)), "a folder that can be written") from None
    return folder


def write(result: DesignResult, folder: Path) -> None:
    """Write the files of FILES: all of them or, if anything fails, none, earlier ones staying as they are."""
    contents: dict[str, bytes] = {
        "chip.toml": to_toml(result.chip).encode(),
        "summary.json": (json.dumps(summary(result), indent=1, ensure_ascii=False) + "\n").encode(),
        "results.parquet": to_parquet(result.exploration.table),
        "report.html": design_page(result).encode(),
    }
    fresh = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder, prefix=".new-"))
        for name, content in contents.items():
            with open(fresh / name, "wb") as f:
                f.write(content)
                f.flush()
                os.fsync(f.fileno())
        for name in FILES:
            os.replace(fresh / name, folder / name)
    except OSError as e:
        raise TapeoutError(
            f"{folder}: cannot be written: {e.strerror or e}; earlier results are intact"
        ) from None
    finally:
        if fresh is not None:
            shutil.rmtree(fresh, ignore_errors=True)
    Store.forget(folder, result.exploration.fingerprint)
