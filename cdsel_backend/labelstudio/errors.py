"""What can go wrong with Label Studio, and what its answers say of that."""

from __future__ import annotations

import re
from typing import Any

import httpx

from cdsel_backend.pool.source import SourceError

AWAY = (429, 502, 503, 504)
FAILED = 500
TOO_LARGE = 413  # mostly of a proxy: the default of nginx is 1 MB
LARGER_REQUESTS = "raise the limit of the proxy before Label Studio, such as client_max_body_size of nginx"
FORBIDDEN = 403  # also what its address checks answer, which say nothing of a permission
_RIGHTS = (
    (r"POST /api/projects/?$", "make projects"),
    (r"POST /api/projects/\d+/import/predictions", "import predictions"),
    (r"POST /api/projects/\d+/import", "import tasks or files"),
    (r"(PATCH|DELETE) /api/projects/", "change projects"),
    (r"GET /api/projects/", "see this project"),
    (r"(POST|PATCH|DELETE) /api/webhooks/", "make or change webhooks"),
    (r"GET /api/webhooks/", "see webhooks"),
    (r"GET /api/users/", "see the accounts"),
    (r"\w+ /api/ml", "connect ML backends, or change them"),
    (r"\w+ /api/storages/", "see storages, or add them"),
    (r"POST /api/tasks/\d+/annotations", "label tasks"),
    (r"(PATCH|DELETE) /api/tasks/", "change or delete tasks"),
    (r"GET /api/(tasks|predictions)", "see tasks and predictions"),
)
"""What a request is about, as a right of an account."""
_OWN_DATABASE = (
    "database is locked",
    "database or disk is full",
    "readonly database",
    "disk i/o error",
    "connection to server",
    "server closed the connection",
    "the database system is",
    "too many clients",
    "connection slots",
)
"""What Label Studio answers where its own database, SQLite or PostgreSQL, does not serve it."""
_GOES_ON = "Nothing is lost, and the work goes on by itself"


class LabelStudioError(SourceError):
    """A request to Label Studio failed: it could not be reached, or it refused."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status it answered, where it answered."""


class LabelStudioUnreachable(LabelStudioError):
    """Label Studio does not answer: no connection, no reply in time, or a gateway in front of it says so."""


class TokenRefused(LabelStudioError):
    """Label Studio does not accept the token."""


class RequestRefused(LabelStudioError):
    """Label Studio answered, and refused the request or said something else than expected."""


class RightMissing(RequestRefused):
    """The account of the token lacks a right, which the message names."""


class UnreadableTask(RequestRefused):
    """Label Studio fails wherever a task is to be shown; the message names the task and the fix."""


class NotFound(RequestRefused):
    """What was asked for does not exist, or not for the token's user."""


def refusal(url: str, what: str, status: int, answer: str) -> LabelStudioError:
    """The error for a request `what`, as "POST /api/...", that the Label Studio at `url` refuses for another reason
    than its token."""
    if status == 404:
        return NotFound(f"{what}: {answer or 'not found'}", status)
    if status in AWAY:
        return LabelStudioUnreachable(
            f"Label Studio at {url} is away or overloaded ({status} {answer})".replace(" )", ")"), status
        )
    if status == FAILED and any(phrase in answer.lower() for phrase in _OWN_DATABASE):
        return LabelStudioUnreachable(without_database(url, answer), status)
    if status == FORBIDDEN and "permission" in answer.lower():
        right = next((right for pattern, right in _RIGHTS if re.match(pattern, what)), "do this")
        return RightMissing(
            f"the account of LABEL_STUDIO_API_KEY may not {right} ({what}: Label Studio answered {status}: {answer}): "
            "give it a role there that may, such as Manager or Administrator, or set LABEL_STUDIO_API_KEY to a token "
            "of an account that may",
            status,
        )
    if status == TOO_LARGE:
        return RequestRefused(f"{what} is refused as too large ({status}): {LARGER_REQUESTS}", status)
    reason = answer or "no reason; see its log, and that of the proxy before it, if there is one"
    return RequestRefused(f"{what}: Label Studio answered {status}: {reason}", status)


def without_database(url: str, answer: str) -> str:
    """The sentence on a Label Studio that cannot use its own database; `answer`: what it says of that."""
    fix = "see Label Studio's log, and that its database runs and has room on its disk"
    if "locked" in answer:
        fix = (
            "end what keeps its SQLite file open for long, such as a backup or an editor; for several people at once "
            "run it on PostgreSQL"
        )
    return f"Label Studio at {url} cannot use its own database ({answer}): {fix}. {_GOES_ON}"


def failing_everywhere(url: str) -> str:
    """The sentence on a Label Studio that answers 500 whatever it is asked."""
    return (
        f"Label Studio at {url} answers {FAILED} to all requests: see Label Studio's log, and that its database runs, "
        f"is not locked and has room on its disk. {_GOES_ON}"
    )


def read_json(response: httpx.Response) -> Any:
    """The JSON of an answer.

    Raises:
        RequestRefused: it holds none.
    """
    try:
        return response.json()
    except ValueError as error:
        raise RequestRefused(
            f"{response.request.method} {response.url} did not answer JSON: is LABEL_STUDIO_URL really a Label Studio?"
        ) from error


def reason_of(response: httpx.Response) -> str:
    """What an answer that is no success says, in one line; "" for a page of HTML."""
    try:
        body = response.json()
    except ValueError:
        body = response.text[:200] if "html" not in response.headers.get("content-type", "") else ""
    return reason_in(body)


def reason_in(body: Any) -> str:
    """What an error's body, as JSON or text, says, in one line."""
    if isinstance(body, dict):
        faults = body.get("validation_errors")
        if faults:
            return reason_in(faults)
        if "detail" in body:
            return reason_in(body["detail"])
        return "; ".join(f"{reason_in(value)} ({key})" for key, value in body.items())[:600]
    if isinstance(body, list):
        return "; ".join(reason_in(part) for part in body[:5]) + ("; ..." if len(body) > 5 else "")
    return str(body if body is not None else "")[:400]
