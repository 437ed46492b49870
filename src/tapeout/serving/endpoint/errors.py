"""Errors as OpenAI's API tells them: {"error": {"message", "type", "param", "code"}} with an HTTP status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tapeout.errors import InputError, shown

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}
"""Every status that the endpoint answers with besides 200. 500: the engine failed on this request; 503: shutting
down; 504: the request took longer than the operator allows."""


class ApiError(Exception):
    """An error for the client. `param`: the field at fault; `code`: OpenAI's word for it, where there is one."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    @property
    def object(self) -> dict[str, Any]:
        """The JSON object of the response."""
        kind = TYPES.get(self.status, "server_error")
        return {
            "error": {"message": self.message, "type": kind, "param": self.param, "code": self.code},
        }

    @property
    def body(self) -> bytes:
        """The body of the response."""
        return json.dumps(self.object).encode()


def bad_field(e: InputError) -> ApiError:
    """What a field's reader found wrong, as a 400."""
    name = f"{e.field}: " if e.field else ""
    return ApiError(400, f"{name}found {shown(e.found)}, expected {e.expected}", e.field or None)
