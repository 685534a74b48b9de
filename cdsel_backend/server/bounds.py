"""Bounds on what a request may hold, so that no input costs more than it is worth, and none ends in a traceback."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from flask import request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge
from werkzeug.routing import IntegerConverter, Map

from cdsel_backend.store.numbers import MAX_NUMBER, is_number, number_in

MEBIBYTE = 1024 * 1024
MAX_BODY_BYTES = 64 * MEBIBYTE
"""Of any request: what the tasks of one /predict may come to. The web server reads no more."""
BODY_BYTES = {
    "protocol.webhook": MEBIBYTE,
    "protocol.setup": 8 * MEBIBYTE,
    "protocol.predict": MAX_BODY_BYTES,
}
OTHER_BODY_BYTES = MEBIBYTE
MAX_DEPTH = 64  # of brackets within brackets
MAX_TEXT = 100  # characters of an action


class BoundedNumber(IntegerConverter):
    """A number in an address that can be an id."""

    def __init__(self, map: Map, *args: Any, **options: Any) -> None:
        super().__init__(map, *args, **options)

    def to_python(self, value: str) -> int:
        """The number.

        Raises:
            BadRequest: it is larger than an id can be.
        """
        number = number_in(value)
        if number is None:
            raise BadRequest(f"the address holds a number above {MAX_NUMBER}, which no project or image has")
        return number


def bound_request() -> None:
    """Refuse, before anything is read, what is too large or holds what no database keeps."""
    limit = BODY_BYTES.get(request.endpoint or "", OTHER_BODY_BYTES)
    request.max_content_length = limit
    if any("\0" in text for pair in request.args.items(multi=True) for text in (request.path, *pair)):
        raise BadRequest("the address holds a NUL character")


def read_body(*, deep: bool = False) -> dict[str, Any]:
    """The JSON object that was sent; `deep` where only its upper levels are looked at, however deep it goes.

    Raises:
        BadRequest: it is none, or nested too deeply.
        RequestEntityTooLarge: it is larger than its route takes.
    """
    if not request.is_json:  # else a form of another site could send it without asking
        raise BadRequest("send a JSON object, with the content type application/json")
    try:
        body = json.loads(request.get_data(cache=False), parse_constant=_no_number)
    except RequestEntityTooLarge:
        limit = BODY_BYTES.get(request.endpoint or "", OTHER_BODY_BYTES)
        raise RequestEntityTooLarge(f"the body is larger than {limit // MEBIBYTE} MiB") from None
    except (ValueError, RecursionError) as fault:
        reason = "it is nested too deeply" if isinstance(fault, RecursionError) else str(fault)[:200]
        raise BadRequest(f"the body is no JSON: {reason}") from None
    if not isinstance(body, dict):
        raise BadRequest("send a JSON object")
    if not deep and _too_deep(body):
        raise BadRequest(f"the body is nested more than {MAX_DEPTH} deep")
    return body


def is_plain(text: object, *, longest: int) -> bool:
    """Whether a value is a text of some length that any database can hold and any page can show."""
    return isinstance(text, str) and 0 < len(text) <= longest and text.isprintable()


def project_number(value: object) -> int | None:
    """`12` of `"12.1700000000"` (project and the time it was made), `"12"` or 12; None for all else."""
    if is_number(value):
        return value
    if not isinstance(value, str) or len(value) > 40 or not value.isascii():
        return None
    head, dot, made_at = value.partition(".")
    if not head.isdigit() or (dot and not made_at.isdigit()) or str(int(head)) != head:
        return None
    return int(head) if is_number(int(head)) else None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _too_deep(body: object) -> bool:
    level: list[Any] = [body]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True
