"""Published measurements as serving points: reading the tables, and what their labels mean.

Two kinds of table, told apart by their columns: whole-server runs (`model, system, backend, …, ttft_ms, tpot_ms`) and
energy (`model, gpu, …, itl_ms, gpu_power_w_total, joules_per_output_token`). Columns that say nothing about the
point may be absent; a row that cannot be turned into a point keeps its reason and counts as unpredicted.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tapeout.errors import InputError, Phrase, TapeoutError
from tapeout.estimate.accelerators import Accelerator, accelerator
from tapeout.estimate.deployments import wait_steps
from tapeout.estimate.engines import generation
from tapeout.files import read_text
from tapeout.model.architecture import LatentAttention, Model
from tapeout.model.load import load
from tapeout.workload.formats import BITS, Formats

# The load generator of the whole-server runs draws lengths uniformly from 0.8 to 1 of the nominal ones.
MEAN_LENGTH = 0.9
# Mean prompt tokens of the tasks of the energy table, which gives output lengths only: ML.ENERGY's
# LM-Arena chat prompts and GPQA questions; assumed, and small beside what decoding costs.
TASK_PROMPT = {"lm-arena-chat": 150.0, "gpqa": 300.0}
UNKNOWN_TASK_PROMPT = 300.0
MAX_ROWS = 1_000_000

Kind = Literal["serving", "energy"]
_SERVING = ("model", "system", "isl", "osl", "concurrency")
_ENERGY = ("model", "gpu", "joules_per_output_token")


@dataclass(frozen=True)
class Point:
    """One serving point, ready to be predicted. `prompt` and `output` are mean tokens."""

    model: Model
    formats: Formats
    accelerator: Accelerator
    engine: str
    prompt: float
    output: float
    concurrency: float
    tp: int = 1
    attention_dp: int = 1
    ep: int = 1
    pp: int = 1
    dp: int = 1
    wait_steps: float = (
        0.0  # scheduling steps for which the engine holds a prompt back to batch it with others
    )


@dataclass(frozen=True)
class Row:
    """One row of a table: its point or why there is none, what was measured, and its labels.

    `measured`: tpot_s, ttft_s, joules, watts, where the row has them. `notes`: how labels were read.
    """

    number: int
    kind: Kind
    labels: Mapping[str, str]
    measured: Mapping[str, float]
    point: Point | None
    reason: str = ""
    notes: tuple[str, ...] = field(default=())


class Models:
    """Looks models up by the names that tables use: in a folder of Hugging Face configs first, then shipped."""

    def __init__(self, folder: Path | None = None) -> None:
        self._known: dict[str, Model | str] = {}
        self._own: dict[str, Path] = {}
        if folder is not None:
            if not folder.is_dir():
                raise InputError(folder, "", Phrase("nothing there"), "a folder of Hugging Face configs")
            for path in sorted([*folder.glob("*.json"), *folder.glob("**/config.json")]):
                for name in _names(path.relative_to(folder), folder.resolve().name):
                    self._own.setdefault(name, path)

    def find(self, name: str) -> Model | str:
        """The model, or why there is none."""
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> Model | str:
        owner, _, last = name.rpartition("/")
        tries = [f"{_plain(owner)}/{_plain(last)}", _plain(last), _plain(name)]
        path = next((self._own[t] for t in tries if t in self._own), None)
        try:
            return load(path if path is not None else name)
        except TapeoutError as e:
            return f"model {name!r} is not known: {e}"


def _names(path: Path, folder: str) -> list[str]:
    """What a configuration may be asked for by: its file or folder, with the owner's folder if it has one, or the
    repository of a Hugging Face cache (models--owner--name/snapshots/…)."""
    cached = [p for p in path.parts[:-1] if p.startswith("models--")]
    if cached:
        parts = cached[-1].split("--")[1:]
    elif path.name == "config.json":
        parts = list(path.parts[-3:-1]) or [folder]
    else:
        parts = re.sub(r"[_.-]config$", "", path.stem).split("--")
    plain = [_plain(p) for p in parts]
    return [plain[-1], "/".join(plain), "-".join(plain)]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower())


def read_rows(path: Path, models: Models) -> list[Row]:
    """The rows of a CSV file. Raises InputError if it is not such a table; a bad row is kept with its reason."""
    text = read_text(path)
    reader = csv.DictReader(io.StringIO(text))
    columns = tuple(c.strip() for c in reader.fieldnames or ())
    kind: Kind
    if set(_ENERGY) <= set(columns):
        kind = "energy"
    elif set(_SERVING) <= set(columns):
        kind = "serving"
    else:
        lacking = [c for c in _SERVING if c not in columns]
        raise InputError(
            path, "header", ", ".join(columns) or "nothing", f"serving columns (lacking {', '.join(lacking)})"
            f" or energy columns ({', '.join(_ENERGY)})",
        )  # fmt: skip
    rows = []
    try:
        for i, record in enumerate(reader):
            if i >= MAX_ROWS:
                raise InputError(path, "rows", Phrase(f"more than {MAX_ROWS}"), "fewer")
            labels = {(k or "").strip(): (v or "").strip() for k, v in record.items() if isinstance(v, str)}
            rows.append(_row(i + 2, kind, labels, models))
    except csv.Error as e:
        raise InputError(path, f"line {reader.line_num}", str(e), "CSV") from None
    if not rows:
        raise InputError(path, "rows", Phrase("nothing"), "at least one row")
    return rows


def _row(number: int, kind: Kind, labels: dict[str, str], models: Models) -> Row:
    def bad(reason: str) -> Row:
        return Row(number, kind, labels, measured, None, reason)

    measured: dict[str, float] = {}
    for name, column, scale in (
        ("tpot_s", "tpot_ms" if kind == "serving" else "itl_ms", 1e-3),
        ("ttft_s", "ttft_ms", 1e-3),
        ("joules", "joules_per_output_token", 1.0),
        ("watts", "gpu_power_w_total", 1.0),
    ):
        value = _number(labels.get(column, ""))
        if value is not None and value > 0:
            measured[name] = value * scale
    if not measured:
        return bad("nothing measured: no time, no energy")
    model = models.find(labels.get("model", ""))
    if isinstance(model, str):
        return bad(model)
    try:
        sheet = accelerator(labels.get("system" if kind == "serving" else "gpu", ""))
    except TapeoutError as e:
        return bad(str(e))
    try:
        return (
            _serving(number, labels, measured, model, sheet)
            if kind == "serving"
            else _energy(number, labels, measured, model, sheet)
        )
    except (_Unreadable, TapeoutError) as e:
        return bad(str(e))


class _Unreadable(Exception):
    pass


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _need(labels: Mapping[str, str], name: str, low: float = 1e-9, high: float = 1e9) -> float:
    value = _number(labels.get(name, ""))
    if value is None or not low <= value <= high:
        raise _Unreadable(f"{name} is {labels.get(name, '')!r}, not a number from {low:g} to {high:g}")
    return value


def _count(labels: Mapping[str, str], name: str, default: int = 1) -> int:
    if _number(labels.get(name, "")) is None:
        return default
    value = _need(labels, name, 1, 1e5)
    if value != int(value):
        raise _Unreadable(f"{name} is {value:g}, not a whole number")
    return int(value)


def _serving(
    number: int, labels: Mapping[str, str], measured: dict[str, float], model: Model, sheet: Accelerator
) -> Row:
    notes: list[str] = []
    formats = formats_of(model, labels.get("precision", ""), labels.get("gemm_quant_mode", ""),
                         labels.get("kv_cache_dtype", ""), notes)  # fmt: skip
    tp, rank, ep = _count(labels, "tp"), _count(labels, "attention_dp"), _count(labels, "moe_ep")
    tp, rank, ep = repaired(tp, rank, _count(labels, "moe_tp"), ep, sheet, notes)
    engine = generation(labels.get("backend", ""), labels.get("backend_version"))
    wait = _number(labels.get("batch_wait_steps", ""))
    if wait is None:
        wait = wait_steps(model, engine, _need(labels, "isl"), _need(labels, "osl"), tp)
        if wait:
            notes.append(f"prompts held back {wait:g} steps, as the launch script of these runs says")
    point = Point(
        model, formats, sheet, engine, wait_steps=max(wait, 0.0),
        prompt=_need(labels, "isl") * MEAN_LENGTH, output=max(_need(labels, "osl") * MEAN_LENGTH, 1.0),
        concurrency=_need(labels, "concurrency"), tp=tp, attention_dp=rank, ep=ep, pp=_count(labels, "pp"),
    )  # fmt: skip
    return _checked(number, "serving", labels, measured, point, notes)


def _energy(
    number: int, labels: Mapping[str, str], measured: dict[str, float], model: Model, sheet: Accelerator
) -> Row:
    notes: list[str] = []
    formats = formats_of(model, labels.get("precision", ""), "", labels.get("kv_cache_dtype", ""), notes)
    tp, ep, dp = _count(labels, "tp"), _count(labels, "ep"), _count(labels, "dp")
    chips = _count(labels, "num_gpus", tp * dp)
    rank = 1
    if tp * dp != chips:
        # Expert parallelism without tensor parallelism: attention is replicated, each rank with its own
        # requests, and the experts are spread over all of them.
        if chips % tp:
            raise _Unreadable(f"num_gpus is {chips}, not a multiple of tp = {tp}")
        rank, dp = (chips // tp, 1) if ep > 1 else (1, chips // tp)
        notes.append(f"{chips} accelerators with tp {tp} and ep {ep} read as {rank * dp} data-parallel ranks")
    batch = _need(labels, "avg_batch" if _number(labels.get("avg_batch", "")) else "max_num_seqs")
    task = labels.get("task", "")
    prompt = _number(labels.get("avg_input_tokens", "")) or TASK_PROMPT.get(task, UNKNOWN_TASK_PROMPT)
    point = Point(
        model, formats, sheet, generation(labels.get("backend", "vllm"), labels.get("backend_version")),
        prompt=prompt, output=_need(labels, "avg_output_tokens"), concurrency=batch / dp, tp=tp,
        attention_dp=rank, ep=ep, dp=dp,
    )  # fmt: skip
    return _checked(number, "energy", labels, measured, point, notes)


def _checked(
    number: int, kind: Kind, labels: Mapping[str, str], measured: dict[str, float], p: Point, notes: list[str]
) -> Row:
    from tapeout.workload.parallelism import Parallelism

    for name, _, found, expected in Parallelism(p.tp, p.ep, p.pp, p.attention_dp).problems(p.model):
        raise _Unreadable(f"{name} is {found}, expected {expected}")
    return Row(number, kind, labels, measured, p, notes=tuple(notes))


def repaired(
    tp: int, rank: int, moe_tp: int, ep: int, sheet: Accelerator, notes: list[str]
) -> tuple[int, int, int]:
    """(tp, attention_dp, ep) with the published labels made consistent.

    Some tables multiply the two labels of one group: `tp` (or `attention_dp`) 64 with moe_tp 8 and moe_ep 8 is a
    server of eight. Such a group spans more than the scale-up domain and is the product of two equal labels.
    """
    domain = sheet.need("network.scale_up_domain", "count")
    stage = tp * rank
    if stage > domain and moe_tp == ep and moe_tp * ep == stage:
        notes.append(f"{stage} chips labelled moe_tp {moe_tp} and moe_ep {ep} read as one group of {moe_tp}")
        tp, rank, ep = (moe_tp, 1, 1) if rank == 1 else (1, moe_tp, moe_tp)
    elif ep > 1 and stage % ep:
        notes.append(f"moe_ep {ep} does not divide {stage} chips; read as 1")
        ep = 1
    return tp, rank, ep


_FORMATS = {
    "": "", "bf16": "bf16", "bfloat16": "bf16", "fp16": "bf16", "float16": "bf16", "half": "bf16", "auto": "",
    "fp8": "fp8", "fp8_e4m3": "fp8", "float8": "fp8", "fp8_static": "fp8", "fp8_tensor": "fp8",
    "fp8_block": "fp8_block128", "fp8_block128": "fp8_block128", "fp8-block": "fp8_block128",
    "fp4": "nvfp4", "nvfp4": "nvfp4", "mxfp4": "mxfp4", "w4a16_mxfp4": "mxfp4", "w4a8_mxfp4_mxfp8": "mxfp4",
    "int8": "int8", "w8a8": "int8", "sq": "int8", "int8_wo": "int8",
    "int4": "int4_group32", "int4_wo": "int4_group32", "w4a16": "int4_group32", "awq": "int4_group32",
}  # fmt: skip


def formats_of(model: Model, precision: str, gemm: str, cache: str, notes: list[str]) -> Formats:
    """The formats that a table's labels mean for `model`.

    Labels say how the linear layers of the decoder are stored; router, embedding and head stay BF16. A checkpoint
    that is published quantised is taken as published unless the label is of fewer bits (then its experts and
    dense layers are); in particular gpt-oss is MXFP4 experts and BF16 elsewhere whatever the label. The
    per-tensor FP8 and NVFP4 checkpoints of dense models carry an 8-bit cache.
    """
    labels = [p.lower() for p in (precision, gemm)]
    for text in labels:
        if text not in _FORMATS and text not in BITS and text != "nan":
            raise _Unreadable(f"precision {text!r} is not one of {', '.join(k for k in _FORMATS if k)}")
    wide, exact = (_FORMATS.get(p, p if p in BITS else "") for p in labels)
    wanted = exact if exact == "fp8_block128" else wide or exact
    stored = Formats.stored(model)
    native = stored.experts if BITS[stored.experts] < 16 else stored.dense
    kv = "bf16"
    if BITS[native] < 16:
        if not wanted or BITS[wanted] >= BITS[native] - 1.0:
            if wanted and wanted not in (native, "fp8", "fp8_block128"):
                notes.append(f"labelled {wanted}; taken as published, {native}")
            chosen = stored
        else:
            chosen = Formats(
                attention="bf16", experts=wanted, shared_expert=wanted, dense=wanted, lm_head=stored.lm_head
            )
    elif not wanted or BITS[wanted] >= 16:
        chosen = stored
    else:
        chosen = Formats(attention=wanted, experts=wanted, shared_expert=wanted, dense=wanted)
        latent = any(isinstance(layer.attention, LatentAttention) for layer in model.layers)
        kv = "fp8" if wanted in ("fp8", "nvfp4") and not latent else "bf16"
    text = cache.lower()
    if text and text not in ("auto", "nan"):
        if text not in _FORMATS and text not in BITS:
            raise _Unreadable(f"kv_cache_dtype {text!r} is not known")
        kv = _FORMATS.get(text) or (text if text in BITS else kv)
    return Formats(**{**chosen.__dict__, "cache": kv})
