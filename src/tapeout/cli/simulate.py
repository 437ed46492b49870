"""Serve many requests in simulation: latencies, throughput, goodput and energy of a deployment.

The load is a published trace (--trace), Poisson arrivals (--rate) or a closed loop (--clients). --find looks for
the cheapest deployment that meets --slo instead of simulating a given one.

Examples:

    tapeout simulate --model gpt-oss-20b --chip flagship --chips 4 --rate 20 --slo "ttft p99 < 1s, tpot p99 < 30ms"

    tapeout simulate --model gpt-oss-120b --accelerator h200 --rate 5 --find --slo "tpot p99 < 20ms"
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapeout.cli.common import print_json

if TYPE_CHECKING:
    from tapeout.serving.requests import Requests
    from tapeout.serving.simulate import SimulationResult
    from tapeout.serving.synthetic import ClosedLoop

LENGTHS = "tokens: MEAN or FAMILY:MEAN[:CV]"
LOAD, ENGINE, DEPLOY = "Load", "Engine", "Deployment"


def simulate(
    model: Annotated[str, typer.Option(help="a shipped model, or a folder with a config.json")],
    chip: Annotated[
        str | None, typer.Option(help="a shipped chip or a chip.toml", rich_help_panel=DEPLOY)
    ] = None,
    accelerator: Annotated[
        str | None,
        typer.Option(help="an accelerator of the catalog instead of a chip", rich_help_panel=DEPLOY),
    ] = None,
    chips: Annotated[
        int | None, typer.Option(help="chips in all; default one replica", rich_help_panel=DEPLOY)
    ] = None,
    tp: Annotated[
        int | None, typer.Option(help="tensor parallelism of a replica", rich_help_panel=DEPLOY)
    ] = None,
    ep: Annotated[int, typer.Option(help="expert parallelism", rich_help_panel=DEPLOY)] = 1,
    pp: Annotated[int, typer.Option(help="pipeline stages", rich_help_panel=DEPLOY)] = 1,
    attention_dp: Annotated[int, typer.Option(help="attention data parallelism", rich_help_panel=DEPLOY)] = 1,
    split: Annotated[
        str | None,
        typer.Option(help="disaggregate: PREFILL:DECODE replicas, e.g. 2:6", rich_help_panel=DEPLOY),
    ] = None,
    network: Annotated[float, typer.Option(help="GB/s for KV transfer", rich_help_panel=DEPLOY)] = 50.0,
    routing: Annotated[str, typer.Option(help="router policy", rich_help_panel=DEPLOY)] = "least_requests",
    mtbf: Annotated[
        float | None, typer.Option(help="mean hours between failures of a replica", rich_help_panel=DEPLOY)
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(help="Azure, BurstGPT or ServeGen files, Mooncake JSONL", rich_help_panel=LOAD),
    ] = None,
    scale: Annotated[
        float, typer.Option(help="arrivals this many times as fast", rich_help_panel=LOAD)
    ] = 1.0,
    rate: Annotated[
        float | None, typer.Option(help="Poisson requests per second", rich_help_panel=LOAD)
    ] = None,
    clients: Annotated[
        int | None, typer.Option(help="closed loop of so many clients", rich_help_panel=LOAD)
    ] = None,
    prompt: Annotated[
        str, typer.Option(help="tokens: MEAN or FAMILY:MEAN[:CV]", rich_help_panel=LOAD)
    ] = "lognormal:1000:1",
    output: Annotated[
        str, typer.Option(help="tokens: MEAN or FAMILY:MEAN[:CV]", rich_help_panel=LOAD)
    ] = "lognormal:200:1",
    requests: Annotated[
        int | None, typer.Option(help="at most so many requests", rich_help_panel=LOAD)
    ] = None,
    max_sequences: Annotated[int, typer.Option(help="sequences in a batch", rich_help_panel=ENGINE)] = 256,
    max_step_tokens: Annotated[
        int, typer.Option(help="token budget of a step", rich_help_panel=ENGINE)
    ] = 8192,
    chunked_prefill: Annotated[
        bool, typer.Option(help="prompts share steps with decoding", rich_help_panel=ENGINE)
    ] = True,
    prefix_caching: Annotated[
        bool, typer.Option(help="reuse cached prefixes", rich_help_panel=ENGINE)
    ] = True,
    speculation: Annotated[
        str | None, typer.Option(help="DRAFTS:ACCEPTANCE, e.g. 3:0.7", rich_help_panel=ENGINE)
    ] = None,
    max_waiting: Annotated[
        int | None, typer.Option(help="refuse requests beyond this queue", rich_help_panel=ENGINE)
    ] = None,
    slo: Annotated[str | None, typer.Option(help='such as "ttft p99 < 1s, tpot p99 < 30ms"')] = None,
    find: Annotated[bool, typer.Option("--find", help="the cheapest deployment that meets --slo")] = False,
    daily_messages: Annotated[float, typer.Option(help="messages per user and day, for --find")] = 10.0,
    workers: Annotated[int, typer.Option(help="processes, for --find")] = 1,
    ray: Annotated[str | None, typer.Option(help="address of a Ray cluster, for --find")] = None,
    seed: Annotated[int, typer.Option(help="of everything random")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="folder for the page, requests.parquet, trace.json")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Parse the options, simulate, print."""
    from tapeout.errors import DoesNotHold, InputError, Phrase
    from tapeout.serving import simulate as serving
    from tapeout.serving.policy import ROUTINGS, Admission, Failures
    from tapeout.workload.parallelism import Parallelism

    if (chip is None) == (accelerator is None):
        raise InputError(
            "simulate", "--chip, --accelerator", Phrase("both" if chip else "neither"), "one of the two"
        )
    if routing not in ROUTINGS:
        raise InputError("--routing", "", routing, f"one of {', '.join(ROUTINGS)}")
    for name, value, low, high in (
        ("--chips", chips, 1, 1_000_000),
        ("--tp", tp, 1, 4096),
        ("--ep", ep, 1, 4096),
        ("--pp", pp, 1, 4096),
        ("--attention-dp", attention_dp, 1, 4096),
        ("--max-waiting", max_waiting, 0, 10**9),
        ("--max-sequences", max_sequences, 1, 65_536),
        ("--max-step-tokens", max_step_tokens, 1, 10**7),
        ("--workers", workers, 1, 256),
        ("--seed", seed, 0, 2**63 - 1),
    ):
        if value is not None and not low <= value <= high:
            raise InputError(name, "", value, f"an integer from {low} to {high}")
    if mtbf is not None and not 1e-4 <= mtbf <= 1e9:
        raise InputError("--mtbf", "", mtbf, "hours from 0.0001 to 1e9")
    if slo is not None and not slo.strip():
        raise InputError("--slo", "", slo, 'objectives such as "ttft p99 < 1s"')
    slo = slo or ""
    target = chip or accelerator or ""
    load = _load(trace, rate, clients, prompt, output, requests, scale, seed)
    if find:
        _find(model, target, load, slo, max_step_tokens, daily_messages, seed, workers, ray, json)
        return
    chosen = Parallelism(tp=tp or attention_or_one(ep, attention_dp), ep=ep, pp=pp, attention_dp=attention_dp)
    explicit = tp is not None or (ep, pp, attention_dp) != (1, 1, 1)
    with _bar(load, json) as progress:
        result = serving.simulate(
            model,
            target,
            load,
            chips=chips,
            slo=slo,
            parallelism=chosen if explicit else None,
            max_sequences=max_sequences,
            max_step_tokens=max_step_tokens,
            chunked_prefill=chunked_prefill,
            prefix_caching=prefix_caching,
            routing=routing,
            speculation=_speculation(speculation),
            split=_split(split),
            network_gigabytes_per_second=_positive("--network", network),
            admission=Admission(max_waiting),
            failures=Failures(_positive("--mtbf", mtbf) * 3600) if mtbf is not None else None,
            seed=seed,
            progress=progress,
        )
    if out is not None:
        _write(result, out)
    if json:
        print_json(result.figures)
    else:
        _print(result, out)
    missed = [name for name, ok in result.met.items() if not ok]
    if missed:
        raise DoesNotHold(f"misses {', '.join(missed)}")


def attention_or_one(ep: int, attention_dp: int) -> int:
    """Tensor parallelism that the other degrees leave when it is not given."""
    return max(ep // max(attention_dp, 1), 1)


def _positive(name: str, value: float) -> float:
    from tapeout.errors import InputError

    if not 0 < value < 1e12:
        raise InputError(name, "", value, "a number above 0 and below 1e12")
    return value


def _lengths(name: str, words: str) -> Any:
    from tapeout.errors import InputError
    from tapeout.serving.synthetic import Lengths

    parts = words.split(":")
    families = ("fixed", "geometric", "lognormal", "uniform")
    try:
        if len(parts) == 1:
            return Lengths(float(parts[0]))
        if parts[0] not in families or len(parts) > 3:
            raise ValueError
        mean = float(parts[1])
        cv = float(parts[2]) if len(parts) == 3 else 1.0
        return Lengths(mean, parts[0], cv)  # type: ignore[arg-type]
    except ValueError:
        raise InputError(
            name, "", words, f"MEAN or FAMILY:MEAN[:CV], FAMILY one of {', '.join(families)}"
        ) from None


def _load(
    trace: Path | None,
    rate: float | None,
    clients: int | None,
    prompt: str,
    output: str,
    requests: int | None,
    scale: float,
    seed: int,
) -> Requests | ClosedLoop:
    from tapeout.errors import InputError, Phrase
    from tapeout.serving import traces
    from tapeout.serving.synthetic import ClosedLoop, poisson

    given = [
        name for name, v in (("--trace", trace), ("--rate", rate), ("--clients", clients)) if v is not None
    ]
    if len(given) != 1:
        raise InputError(
            "simulate",
            "load",
            Phrase(" and ".join(given) or "none"),
            "exactly one of --trace, --rate and --clients",
        )
    if requests is not None and not 1 <= requests <= 100_000_000:
        raise InputError("--requests", "", requests, "1 to 100000000")
    if trace is not None:
        found = traces.read(trace)
        found = found if scale == 1.0 else found.scaled(scale)
        return found if requests is None else found.take(requests)
    questions, answers = _lengths("--prompt", prompt), _lengths("--output", output)
    if rate is not None:
        return poisson(requests or 10_000, _positive("--rate", rate) * scale, questions, answers, seed)
    return ClosedLoop(clients or 0, requests or 20 * (clients or 0), questions, answers, seed=seed)


def _split(words: str | None) -> tuple[int, int] | None:
    from tapeout.errors import InputError

    if words is None:
        return None
    try:
        prefill, decode = (int(x) for x in words.split(":"))
        return prefill, decode
    except ValueError:
        raise InputError("--split", "", words, "PREFILL:DECODE, two whole numbers") from None


def _speculation(words: str | None) -> Any:
    from tapeout.errors import InputError
    from tapeout.serving.policy import Speculation

    if words is None:
        return None
    try:
        drafts, acceptance = words.split(":")
        found = Speculation(int(drafts), float(acceptance))
    except ValueError:
        raise InputError("--speculation", "", words, "DRAFTS:ACCEPTANCE, such as 3:0.7") from None
    if not 0 <= found.drafts <= 64 or not 0 <= found.acceptance <= 1:
        raise InputError("--speculation", "", words, "0 to 64 drafts, acceptance from 0 to 1")
    return found


def _bar(load: Requests | ClosedLoop, quiet: bool) -> Any:
    """A context that gives the progress callback, drawing on stderr."""
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import Progress

    total = load.count if hasattr(load, "count") else len(load)

    console = Console(stderr=True)

    @contextmanager
    def shown() -> Any:
        with Progress(console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
            task = progress.add_task("simulating", total=total)
            yield lambda done: progress.update(task, completed=done)

    return shown()


def _write(result: SimulationResult, out: Path) -> None:
    import json

    from tapeout.files import write_atomic
    from tapeout.report.simulation import page
    from tapeout.serving.timeline import write_perfetto

    write_atomic(out / "report.html", page(result))
    write_atomic(out / "summary.json", json.dumps(result.figures, indent=2))
    result.outcome.records.write_parquet(out / "requests.parquet")
    write_perfetto(out / "trace.json", result.outcome)


def _print(result: SimulationResult, out: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    f = result.figures
    console = Console()
    split = (
        ", ".join(f"{k.replace('_', '-')} {v}" for k, v in f["parallelism"].items() if v != 1)
        or "one chip each"
    )
    replicas = f"{f['replicas']} replica" + ("s" if f["replicas"] != 1 else "")
    chips = f"{f['chips']} × {f['target']}"
    console.print(f"[bold]{f['model']}[/bold] on {chips}: {replicas} ({split})")
    console.print(
        f"{f['finished']:,} of {f['requests']:,} requests in {f['seconds']:,.1f} s, "
        f"{f['output_tokens_per_second']:,.0f} output tokens/s, busy {f['utilisation']:.0%}, "
        f"{f['joules_per_output_token']:.3g} J/token"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("ms")
    for level in ("p50", "p90", "p95", "p99", "mean"):
        table.add_column(level, justify="right")
    names = {"ttft": "time to first token", "tpot": "time per output token", "e2e": "end to end"}
    for key, name in names.items():
        values = f[f"{key}_ms"].values()
        table.add_row(name, *("–" if v is None else f"{v:,.4g}" for v in values))
    console.print(table)
    if result.met:
        console.print("; ".join(f"{name}: {'met' if ok else 'missed'}" for name, ok in result.met.items()))
        console.print(f"goodput {f['goodput_share']:.1%}, {f['goodput_requests_per_second']:,.4g} requests/s")
    if out is not None:
        console.print(f"{out / 'report.html'}")


def _find(
    model: str,
    target: str,
    load: Any,
    slo: str,
    max_step_tokens: int,
    daily: float,
    seed: int,
    workers: int,
    ray: str | None,
    json: bool,
) -> None:
    from rich.console import Console
    from rich.table import Table

    from tapeout.errors import InputError, Phrase
    from tapeout.model import load as load_model
    from tapeout.serving.capacity import Search, cheapest
    from tapeout.serving.requests import Requests
    from tapeout.serving.slo import parse
    from tapeout.serving.targets import target_maker
    from tapeout.workload.parallelism import Parallelism

    if not isinstance(load, Requests):
        raise InputError(
            "--find", "", Phrase("a closed loop"), "a load with arrival times: --trace or --rate"
        )
    if not slo:
        raise InputError("--find", "--slo", Phrase("nothing"), "the objectives to meet")
    make = target_maker(load_model(model), target)
    search = Search(make, load, parse(slo), max_step_tokens=max_step_tokens, seed=seed)
    with Console(stderr=True, quiet=json).status("looking for the cheapest deployment"):
        found = cheapest(search, [Parallelism(tp=t) for t in (1, 2, 4, 8)], workers, ray)
    best = found[0]
    assert best.chips is not None
    users = load.rate * 86_400 / _positive("--daily-messages", daily)
    answer = {
        "chips": best.chips,
        "chips_per_million_daily_users": best.chips / users * 1e6,
        "candidates": [c.summary() for c in found],
    }
    if json:
        print_json(answer)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("split", "batch limit", "replicas", "chips", "TTFT p99 ms", "TPOT p99 ms", "J/token", ""):
        table.add_column(column, justify="left" if column in ("split", "") else "right")
    for c in found:
        s = c.summary()
        numbers = (s["ttft_p99_ms"], s["tpot_p99_ms"], s["joules_per_output_token"])
        shown = ["–" if v is None else f"{v:.4g}" for v in numbers]
        table.add_row(
            c.label, str(c.max_sequences), str(c.replicas or "–"), str(c.chips or "–"), *shown, c.why
        )
    console = Console()
    console.print(table)
    plural = "s" if best.chips != 1 else ""
    console.print(
        f"[bold]{best.chips} chip{plural}[/bold] ({best.label}, batches of up to {best.max_sequences}); "
        f"{answer['chips_per_million_daily_users']:.3g} chips per million daily users "
        f"at {daily:g} messages each"
    )
