"""What a long piece of work is at, on stderr: a line that counts seconds on a terminal, else a line for each stage."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

PATIENCE = 1.0  # seconds before anything is said: what is cached is over by then


class Progress:
    """Called with the name of each stage as it begins; leaving the context ends the last."""

    def __init__(self, what: str) -> None:
        self.what, self.stage = what, ""
        self.begun = time.monotonic()
        self.told = ""
        self.stop, self.lock = threading.Event(), threading.Lock()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Progress:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self("")
        self.stop.set()
        self.thread.join()

    def __call__(self, stage: str) -> None:
        """What comes now; "" if there is nothing to wait for."""
        with self.lock:
            self.stage = stage
            if not stage and self.told and sys.stderr.isatty():
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()

    def _run(self) -> None:
        while not self.stop.wait(PATIENCE):
            with self.lock:
                if self.stage:
                    self._tell(self.stage, time.monotonic() - self.begun)

    def _tell(self, stage: str, seconds: float) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{self.what}: {stage}, {seconds:.0f} s")
        elif stage != self.told:
            sys.stderr.write(f"{self.what}: {stage}, after {seconds:.0f} s\n")
        sys.stderr.flush()
        self.told = stage
