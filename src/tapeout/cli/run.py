"""Generate text with a checkpoint, computed bit for bit as the chip computes it.

MODEL is a Hugging Face checkpoint's folder, or demo for the model that is shipped. The text streams to
stdout; a last line on stderr says what the simulation took and what the chip would have taken.

Examples:

    tapeout run demo "In the beginning"

    tapeout run demo "And God said" --chip edge --max-tokens 64 --temperature 0 --json

With --on rtl the compiled program runs on the core's RTL in Verilator, cycle by cycle; with --on isa on the executable
ISA, for the same bits; with --on cycle only its time is simulated, at once, and no text comes.

    tapeout run demo "In the beginning" --chip tiny --on cycle --max-tokens 32

The RTL's signals can be written while it runs, for GTKWave or Surfer; a cycle is a nanosecond there:

    tapeout run demo "In" --chip tiny --on rtl --max-tokens 1 --waveform token.vcd --window 5000:7000
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapeout.cli.common import print_json

if TYPE_CHECKING:
    from tapeout.report.execute import Executed
    from tapeout.report.run import RunResult

MACHINES = ("functional", "isa", "rtl", "cycle")  # what can execute a model


def run(
    model: Annotated[str, typer.Argument(help="a checkpoint's folder, or demo", metavar="MODEL")],
    prompt: Annotated[str, typer.Argument(help="the text to continue; - reads it from stdin")],
    chip: Annotated[
        str | None,
        typer.Option(help="chip.toml or preset to estimate", show_default="tiny for demo, else flagship"),
    ] = None,
    on: Annotated[str, typer.Option("--on", help=f"what executes: {', '.join(MACHINES)}")] = "functional",
    plan: Annotated[
        str, typer.Option(help="formats: mxint8, mxfp8, mxfp4, bf16-attention, widest")
    ] = "mxint8",
    max_tokens: Annotated[int, typer.Option(help="generate at most this many")] = 256,
    temperature: Annotated[
        float | None, typer.Option(help="0: greedy", show_default="the checkpoint's, else 0")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="0: all", show_default="the checkpoint's, else 0")] = None,
    top_p: Annotated[float | None, typer.Option(show_default="the checkpoint's, else 1")] = None,
    seed: Annotated[int, typer.Option(help="of the sampling", min=0)] = 0,
    threads: Annotated[int, typer.Option(help="0: every core", min=0, max=1024)] = 0,
    latency: Annotated[
        int, typer.Option(help="cycles of an access of memory, on rtl and cycle", min=1, max=100_000)
    ] = 100,
    waveform: Annotated[
        Path | None, typer.Option(help="on rtl: a .vcd file for every signal in --window", metavar="FILE")
    ] = None,
    window: Annotated[
        str, typer.Option(help="cycles of --waveform from the first doorbell", metavar="FROM:TO")
    ] = "0:2000",
    program: Annotated[
        Path | None,
        typer.Option(help="on isa, rtl and cycle: what `tapeout compile` wrote", show_default="compiled now"),
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="PROMPT is a message to the assistant (gpt-oss)")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
    out: Annotated[Path | None, typer.Option(help="write the JSON object here too")] = None,
) -> None:
    """Stream tokens, then tell the times."""
    from tapeout.errors import InputError
    from tapeout.report.execute import default_chip, execute
    from tapeout.report.run import run as generate

    if on not in MACHINES:
        raise InputError("--on", "", on, f"one of {', '.join(MACHINES)}")
    text = _stdin() if prompt == "-" else prompt
    if program is not None and on == "functional":
        raise InputError("--program", "", str(program), "--on isa, rtl or cycle with it")
    if program is not None and chip is not None:
        raise InputError("--chip", "", chip, "no chip with --program: it is for one")

    def show(piece: str) -> None:
        sys.stdout.write(piece)
        sys.stdout.flush()

    if on != "functional":
        from tapeout.cli.progress import Progress
        from tapeout.compiler import Program
        from tapeout.simulator.rtl.waveform import Waveform

        if chat:
            raise InputError("--chat", "", on, "--on functional with --chat")
        with Progress("tapeout") as progress:
            executed = execute(
                model, text, on=on, plan=plan, chip=chip or default_chip(model), max_tokens=max_tokens,
                program=None if program is None else Program.load(program),
                temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, latency=latency,
                waveform=None if waveform is None else Waveform.of(waveform, window), progress=progress,
                on_text=(lambda piece: None) if json else show,
            )  # fmt: skip
        if out is not None:
            _write(out, executed)
        if json:
            print_json(executed.to_dict())
        else:
            sys.stdout.write("\n" if executed.tokens else "")
            sys.stdout.flush()
            typer.echo(_program_line(executed), err=True)
        if waveform is not None:
            typer.echo(f"Waveform of cycles {window} in {waveform}", err=True)
        return

    if waveform is not None:
        raise InputError("--waveform", "", on, "--on rtl with --waveform")
    result = generate(
        model,
        text,
        plan=plan,
        chip=chip,
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        threads=threads,
        chat=chat,
        on_text=(lambda piece: None) if json else show,
    )
    if out is not None:
        _write(out, result)
    if json:
        print_json(result.to_dict())
    else:
        sys.stdout.write("\n")
        sys.stdout.flush()
        typer.echo(_last_lines(result), err=True)


def _stdin() -> str:
    from tapeout.errors import InputError, Phrase

    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as e:
        raise InputError(
            "stdin", f"byte {e.start}", Phrase("bytes that are not UTF-8"), "UTF-8 text"
        ) from None


def _write(out: Path, result: RunResult | Executed) -> None:
    import json

    from tapeout.files import write_atomic

    write_atomic(out, json.dumps(result.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _last_lines(r: RunResult) -> str:
    rate = "" if r.tokens_per_second is None else f", {r.tokens_per_second:,.0f} tokens/s"
    simulated = (
        f"{r.prompt_tokens} + {len(r.tokens)} tokens, {r.plan}. Simulation: prompt {_seconds(r.prefill_seconds)}, "
        f"then {_seconds(r.decode_seconds)}{rate}."
    )
    if r.chip is None:
        return f"{simulated} No estimate: {r.chip_note}."
    c = r.chip
    rate = "" if c.tokens_per_second is None else f", {c.tokens_per_second:,.0f} tokens/s"
    return (
        f"{simulated} Chip {c.chip} (estimate): prompt {_seconds(c.prefill_seconds)}, "
        f"then {_seconds(c.decode_seconds)}{rate}, {_si(c.joules)}J."
    )


def _program_line(r: Executed) -> str:
    said = f"{r.prompt_tokens} + {len(r.tokens) or len(r.cycles) + 1} tokens, {r.plan}, {r.chip} on {r.on}"
    if r.prompt_cycles is not None:
        said += f". Prompt {r.prompt_cycles:,} cycles"
    if r.cycles_per_token:
        said += (
            f", then {r.cycles_per_token:,.0f} cycles a token: {r.tokens_per_second:,.0f} tokens/s at "
            f"{r.clock_ghz} GHz"
        )
    rate = "" if r.on == "cycle" else f", {r.host_tokens_per_second:.2f} tokens/s"
    return f"{said}. Host: compiled in {_seconds(r.compile_seconds)}, ran {_seconds(r.host_seconds)}{rate}."


def _seconds(value: float) -> str:
    return f"{_si(value)}s"


def _si(value: float) -> str:
    for factor, prefix in ((1.0, ""), (1e-3, "m"), (1e-6, "µ")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}"
    return f"{value / 1e-9:.3g} n"
