"""Serve a model over an OpenAI-compatible API, its tokens computed by the simulated chip.

Each response also says what the chip would have taken, in a field `tapeout`. Keys are given with --api-key or in the
variable TAPEOUT_API_KEY. With --pace the answers come at the chip's own speed, slowed down so many times.

Examples:

    tapeout serve demo --port 8000

    tapeout serve demo --chip edge --plan mxint8 --max-sequences 32 --pace 2000
"""

from __future__ import annotations

from typing import Annotated

import typer

LIMITS, CHIP, ACCESS = "Limits", "Chip", "Access"


def serve(
    model: Annotated[str, typer.Argument(help='"demo", or a folder with a checkpoint')] = "demo",
    name: Annotated[
        str | None, typer.Option(help="what clients call the model", rich_help_panel=ACCESS)
    ] = None,
    host: Annotated[str, typer.Option(help="address to listen at", rich_help_panel=ACCESS)] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for a free one", rich_help_panel=ACCESS)] = 8000,
    api_key: Annotated[
        list[str] | None,
        typer.Option(help="a key that clients may use; may be repeated", rich_help_panel=ACCESS),
    ] = None,
    log_level: Annotated[
        str, typer.Option(help="debug, info, warning, error", rich_help_panel=ACCESS)
    ] = "info",
    chip: Annotated[
        str, typer.Option(help="a shipped chip, a chip.toml or an accelerator", rich_help_panel=CHIP)
    ] = "flagship",
    plan: Annotated[str, typer.Option(help="formats of the tensors", rich_help_panel=CHIP)] = "mxint8",
    on: Annotated[str, typer.Option(help="what computes the tokens", rich_help_panel=CHIP)] = "functional",
    threads: Annotated[int, typer.Option(help="0 for every core", rich_help_panel=CHIP)] = 0,
    pace: Annotated[
        float | None, typer.Option(help="wall seconds to a second of chip time", rich_help_panel=CHIP)
    ] = None,
    max_sequences: Annotated[int, typer.Option(help="sequences in a batch", rich_help_panel=LIMITS)] = 64,
    max_step_tokens: Annotated[
        int, typer.Option(help="token budget of a step", rich_help_panel=LIMITS)
    ] = 512,
    max_waiting: Annotated[
        int, typer.Option(help="requests queued before clients are told to retry", rich_help_panel=LIMITS)
    ] = 256,
    prefix_caching: Annotated[
        bool, typer.Option(help="reuse cached prefixes", rich_help_panel=LIMITS)
    ] = True,
    kv_gigabytes: Annotated[
        float, typer.Option(help="host memory for the cache", rich_help_panel=LIMITS)
    ] = 2.0,
    max_body: Annotated[int, typer.Option(help="bytes of a request", rich_help_panel=LIMITS)] = 4 * 2**20,
    header_timeout: Annotated[float, typer.Option(help="seconds", rich_help_panel=LIMITS)] = 10.0,
    body_timeout: Annotated[float, typer.Option(help="seconds", rich_help_panel=LIMITS)] = 30.0,
    request_timeout: Annotated[float, typer.Option(help="seconds", rich_help_panel=LIMITS)] = 3600.0,
    stall_timeout: Annotated[
        float, typer.Option(help="seconds that a client may not read", rich_help_panel=LIMITS)
    ] = 60.0,
    connections: Annotated[int, typer.Option(help="at a time", rich_help_panel=LIMITS)] = 4096,
    drain: Annotated[
        float, typer.Option(help="seconds for streams to finish on shutdown", rich_help_panel=LIMITS)
    ] = 600.0,
) -> None:
    """Parse the options and serve."""
    from tapeout.serving.endpoint.server import serve as run
    from tapeout.serving.endpoint.settings import Settings, keys

    run(
        Settings(
            model=model,
            name=name,
            chip=chip,
            plan=plan,
            on=on,
            threads=threads,
            host=host,
            port=port,
            api_keys=keys(tuple(api_key or ())),
            max_sequences=max_sequences,
            max_step_tokens=max_step_tokens,
            max_waiting=max_waiting,
            prefix_caching=prefix_caching,
            kv_gigabytes=kv_gigabytes,
            pace=pace,
            body_bytes=max_body,
            header_seconds=header_timeout,
            body_seconds=body_timeout,
            request_seconds=request_timeout,
            stall_seconds=stall_timeout,
            connections=connections,
            drain_seconds=drain,
            log_level=log_level,
        )
    )
