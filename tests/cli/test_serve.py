"""`tapeout serve` as a user meets it: a process, signals, its log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

import pytest
from typer.testing import CliRunner

from tapeout.cli.app import app

pytest.importorskip("uvicorn", reason="needs the `serve` extra")
COMMAND = [sys.executable, "-c", "from tapeout.cli import main; main()", "serve", "demo", "--port", "0"]


@contextmanager
def process(*options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The command and the first line of its log."""
    with subprocess.Popen(
        [*COMMAND, *options], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, **environment},
    ) as found:  # fmt: skip
        try:
            assert found.stderr is not None
            yield found, json.loads(found.stderr.readline())
        finally:
            found.kill()


def post(url: str, body: dict[str, Any], key: str = "") -> Any:
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    return urlopen(Request(f"{url}/v1/completions", json.dumps(body).encode(), headers), timeout=60)


def test_a_signal_lets_streams_finish_and_ends_well() -> None:
    with process("--threads", "1", "--pace", "2000", TAPEOUT_API_KEY="secret,other") as (server, hello):
        assert hello["event"] == "serving" and hello["chip"] == "flagship" and hello["keys"] == 2
        body = {"prompt": "And God said", "max_tokens": 60, "ignore_eos": True, "stream": True}
        stream = post(hello["url"], body, "other")
        stream.readline()
        server.send_signal(signal.SIGTERM)
        events = stream.read().decode().strip().split("\n\n")
        assert events[-1] == "data: [DONE]"
        assert json.loads(events[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
        out, err = server.communicate(timeout=30)
        assert server.returncode == 0 and out == ""
    lines = [json.loads(line) for line in err.splitlines()]
    (request,) = [line for line in lines if line["event"] == "request"]
    assert (
        request["status"] == 200
        and request["path"] == "/v1/completions"
        and request["completion_tokens"] == 60
    )
    assert request["chip_joules"] > 0 and "secret" not in err and "other" not in err


def test_a_second_interrupt_does_not_wait() -> None:
    with process("--threads", "1", "--pace", "1e6") as (server, hello):
        thread = threading.Thread(target=lambda: _ignore(hello["url"]))
        thread.start()
        time.sleep(0.5)
        server.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert server.poll() is None  # the stream is waited for
        server.send_signal(signal.SIGINT)
        server.wait(timeout=20)
        thread.join()


def _ignore(url: str) -> None:
    try:
        post(url, {"prompt": "And God said", "max_tokens": 500, "ignore_eos": True, "stream": True}).read()
    except Exception:
        return


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["nonesuch"], "nonesuch"),
        (["gpt-oss-20b"], "without its weights"),
        (["demo", "--on", "rtl"], "--on"),
        (["demo", "--on", "abacus"], "--on"),
        (["demo", "--chip", "nonesuch"], "nonesuch"),
        (["demo", "--plan", "fp2"], "--plan"),
        (["demo", "--plan", "widest"], "core.matrix.formats"),
        (["demo", "--port", "70000"], "--port"),
        (["demo", "--host", "no.such.host.invalid"], "--host"),
        (["demo", "--host", "192.0.2.1"], "--host"),
        (["demo", "--max-sequences", "0"], "--max-sequences"),
        (["demo", "--max-sequences", "512"], "--max-step-tokens"),
        (["demo", "--pace", "0"], "--pace"),
        (["demo", "--pace", "nan"], "--pace"),
        (["demo", "--body-timeout", "nan"], "--body-seconds"),
        (["demo", "--log-level", "loud"], "--log-level"),
        (["demo", "--api-key", "with space"], "--api-key"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(app, ["serve", "--port", "0", *arguments])
    assert result.exit_code == 2, result.output
    assert len(result.stderr.strip().splitlines()) == 1 and complaint in result.stderr
    assert "with space" not in result.stderr
