"""Published request traces: one format, one file. `read` tells them apart by their first line.

Each reader takes the path and returns `Requests`; rows it must leave out (a request of no output, say)
are counted, never dropped in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tapeout.errors import InputError, Phrase
from tapeout.serving.requests import Requests
from tapeout.serving.traces import azure, burstgpt, mooncake, servegen

FORMATS: dict[str, tuple[Callable[[str], bool], Callable[[Path], Requests]]] = {
    "azure": (azure.recognise, azure.read),
    "burstgpt": (burstgpt.recognise, burstgpt.read),
    "mooncake": (mooncake.recognise, mooncake.read),
    "servegen": (servegen.recognise, servegen.read),
}


def read(path: Path, form: str | None = None) -> Requests:
    """The requests of a trace file; `form` names the format, else its first line tells. A folder holds
    ServeGen clients.

    Raises InputError if no format fits, or naming the line that does not.
    """
    if form is not None and form not in FORMATS:
        raise InputError(path, "format", form, f"one of {', '.join(FORMATS)}")
    if path.is_dir():
        return servegen.read(path)
    try:
        with path.open(encoding="utf-8", errors="replace") as f:
            first = f.readline(65536).strip()
    except OSError as e:
        raise InputError(path, "", Phrase(e.strerror or str(e)), "a readable trace") from None
    for name, (recognise, reader) in FORMATS.items():
        if name == form or (form is None and recognise(first)):
            return reader(path)
    raise InputError(path, "line 1", first, f"the header of a known trace format ({', '.join(FORMATS)})")
