"""A load generator that costs the machine little: raw HTTP over asyncio, tokens counted by their events.

    python benchmarks/endpoint_load.py URL --streams 32 --requests 96 --prompt 32 --output 128

Prints one JSON object: tokens, seconds, and for each request the arrival of its tokens and its `tapeout` field.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from typing import Any
from urllib.parse import urlsplit


async def one(host: str, port: int, body: dict[str, Any]) -> dict[str, Any]:
    """Send one streamed completion and read it to the end."""
    data = json.dumps(body).encode()
    sent = time.perf_counter()
    reader, writer = await asyncio.open_connection(host, port)
    head = f"POST /v1/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    writer.write(head.encode() + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(data) + data)
    status = int((await reader.readline()).split()[1])
    times: list[float] = []
    last = b""
    while line := await reader.readline():
        if line.startswith(b"data: {"):
            times.append(time.perf_counter())
            last = line
    writer.close()
    if status != 200:
        return {"status": status}
    final = json.loads(last[6:])
    return {
        "status": status,
        "sent": sent,
        "times": times,
        "tapeout": final["tapeout"],
        "usage": final["usage"],
    }


async def closed_loop(url: str, streams: int, lengths: list[tuple[int, int]], seed: int) -> dict[str, Any]:
    """`streams` clients that each send a request, wait for its end and send the next. `lengths`: tokens of prompt and
    answer, in the order of sending; prompts are drawn by seed."""
    at = urlsplit(url)
    rng = random.Random(seed)
    bodies = [
        {
            "prompt": [rng.randrange(20, 1000) for _ in range(prompt)],
            "max_tokens": output,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        for prompt, output in reversed(lengths)
    ]
    results: list[dict[str, Any]] = []

    async def client(number: int) -> None:
        while bodies:
            result = await one(at.hostname or "", at.port or 80, bodies.pop())
            results.append({"client": number, **result})

    began = time.perf_counter()
    await asyncio.gather(*(client(i) for i in range(streams)))
    seconds = time.perf_counter() - began
    tokens = sum(r["usage"]["completion_tokens"] for r in results if r["status"] == 200)
    return {"tokens": tokens, "seconds": seconds, "requests": results}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("url")
    for name, default in (("streams", 32), ("requests", 64), ("prompt", 32), ("output", 128), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    a = parser.parse_args()
    lengths = [(a.prompt, a.output)] * a.requests
    print(json.dumps(asyncio.run(closed_loop(a.url, a.streams, lengths, a.seed))))


if __name__ == "__main__":
    main()
