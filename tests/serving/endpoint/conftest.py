"""One endpoint for the tests of this folder, and the official client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="needs the `serve` extra")
openai = pytest.importorskip("openai", reason="needs the `test` extra")

from tapeout.serving.endpoint.server import Running, running  # noqa: E402
from tapeout.serving.endpoint.settings import Settings  # noqa: E402

SMALL = Settings(
    port=0, max_sequences=8, max_step_tokens=64, max_waiting=64, threads=1, log_level="error",
    header_seconds=2.0, body_seconds=1.0,
)  # fmt: skip


@pytest.fixture(scope="session")
def endpoint() -> Iterator[Running]:
    """The demo, served."""
    with running(SMALL) as found:
        yield found


@pytest.fixture
def client(endpoint: Running) -> Any:
    """OpenAI's client."""
    return openai.OpenAI(base_url=endpoint.url + "/v1", api_key="none", max_retries=0)
