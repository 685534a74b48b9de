"""What can be wrong between Label Studio and us, seen from outside: release, token, rights, clock, switches, address.

Nothing here changes anything in Label Studio: each probe sends what Label Studio refuses in any case.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Literal

import jwt

from cdsel_backend.labelstudio.client import LabelStudio, LabelStudioError
from cdsel_backend.labelstudio.errors import FORBIDDEN
from cdsel_backend.labelstudio.health import ask_health
from cdsel_backend.labelstudio.releases import (
    blocks_private_addresses,
    has_personal_tokens,
    judge_release,
    token_advice,
)
from cdsel_backend.labelstudio.tokens import is_personal

SOON = timedelta(days=30)
CLOCK_SECONDS = 60  # an access token is good for 300
Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class CheckResult:
    """One line of the report: what was looked at, how it stands, and what to do where it is not well."""

    subject: str
    level: Level
    message: str
    fix: str = ""
    project: int | None = None
    webhook: int | None = None
    """A webhook that had better go; its id."""
    studio: str = ""
    """The Label Studio that has this webhook."""


def check_studio(studio: LabelStudio, token: str) -> Iterator[CheckResult]:
    """Whether Label Studio answers and takes the token, whose it is, what it may do, and what time it is there.

    Raises:
        LabelStudioError: it does not answer or refuses the token; nothing else need be asked.
    """
    release = studio.version()
    remark, fix = judge_release(release)
    message = f"release {release} at {studio.url}; {remark}"
    yield CheckResult("Label Studio", "warning" if fix else "ok", message, fix)
    yield check_token(studio, token, release)
    yield check_rights(studio)
    yield check_clock(studio)


def check_token(studio: LabelStudio, token: str, release: str) -> CheckResult:
    """Whose token it is, of which kind, and until when it is good."""
    account = studio.get("/api/current-user/whoami").get("email", "")
    if not is_personal(token):
        message = f"a legacy token of {account}"
        if not has_personal_tokens(release):
            return CheckResult("token", "ok", f"{message}; release {release} has no others")
        return CheckResult("token", "ok", f"{message}; it ends when the organisation turns legacy tokens off")
    message = f"a personal access token of {account}"
    try:
        seconds = jwt.decode(token, options={"verify_signature": False}).get("exp")
    except jwt.PyJWTError:
        seconds = None
    if seconds is None:
        return CheckResult("token", "ok", message)
    end = datetime.fromtimestamp(seconds, timezone.utc)
    if end - datetime.now(timezone.utc) < SOON:
        return CheckResult(
            "token", "warning", f"{message}, which ends on {end:%Y-%m-%d}", token_advice(release)
        )
    return CheckResult("token", "ok", f"{message}, good until {end:%Y-%m-%d}")


def check_rights(studio: LabelStudio) -> CheckResult:
    """Whether the token's account may make projects; a labeling config that is none is refused to those who may."""
    try:
        studio.request("POST", "/api/projects/", {"title": "cdsel doctor", "label_config": "<View"})
    except LabelStudioError as fault:
        if fault.status == FORBIDDEN:
            fix = "give the account a role that makes projects, or set delivery to in_place"
            return CheckResult("rights", "problem", f"the account may not make projects ({fault})", fix)
        if fault.status != 400:
            message = f"whether the account may make projects could not be seen: {fault}"
            return CheckResult(
                "rights", "warning", message, "run `cdsel doctor` again, or look at Label Studio's log"
            )
    return CheckResult("rights", "ok", "the account may make projects")


def check_clock(studio: LabelStudio) -> CheckResult:
    """Whether this machine's clock and Label Studio's agree: a token ends by the one and is renewed by the other."""
    there = studio.request("GET", "/api/version").headers.get("date", "")
    try:
        seconds = (datetime.now(timezone.utc) - parsedate_to_datetime(there)).total_seconds()
    except (TypeError, ValueError):
        return CheckResult("clock", "ok", "Label Studio does not say what time it is")
    if abs(seconds) <= CLOCK_SECONDS:
        return CheckResult("clock", "ok", f"within {CLOCK_SECONDS} s of Label Studio's")
    side = "ahead of" if seconds > 0 else "behind"
    message = f"this machine is {abs(seconds):.0f} s {side} Label Studio"
    return CheckResult("clock", "warning", message, "let both machines set their clocks by NTP")


def check_switches(studio: LabelStudio, backend: str) -> Iterator[CheckResult]:
    """Whether Label Studio lets itself call a backend, and a webhook, at our address.

    It judges an address before it looks at the rest of a request, so that one which cannot be granted tells all: a
    model without a project, a webhook for an action that there is not (one without a project is made before 1.20).
    """
    for path, what, switch, flaw in (
        ("/api/ml", "Connect Model", "ML_BLOCK_LOCAL_IP", {}),
        ("/api/webhooks/", "webhooks", "SSRF_PROTECTION_ENABLED", {"actions": ["NO_SUCH_ACTION"]}),
    ):
        try:
            studio.request("POST", path, {"url": f"{backend}/webhook", **flaw})
        except LabelStudioError as fault:
            if fault.status == FORBIDDEN:
                default = (
                    ", as from 1.23.1 on by default" if blocks_private_addresses(studio.version()) else ""
                )
                fix = (
                    f"start Label Studio with {switch}=false in its environment, or give this backend a public address "
                    "(CDSEL_PUBLIC_URL)"
                )
                message = f"Label Studio refuses {backend} for {what}{default} ({fault})"
                yield CheckResult(switch, "problem", message, fix)
                continue
            if fault.status is None or fault.status >= 500 or fault.status == 401:
                message = f"whether {what} may call {backend} could not be seen: {fault}"
                yield CheckResult(
                    switch, "warning", message, "run `cdsel doctor` again, or look at Label Studio's log"
                )
                continue
        yield CheckResult(switch, "ok", f"Label Studio lets {what} call {backend}")


def check_backend(backend: str) -> CheckResult:
    """Whether this backend answers at the address that Label Studio knows; as seen from here."""
    health = ask_health(backend)
    if health is None:
        message = f"nobody answers at {backend}/health from here"
        fix = (
            "start `cdsel serve`; where it runs at another port (--port), set CDSEL_PUBLIC_URL to its address until a "
            "project is connected; where only Label Studio reaches it, ask the same from its machine"
        )
        return CheckResult("backend", "warning", message, fix)
    if health.get("model_class") != "cdsel":
        fix = "start `cdsel serve` at another port (--port), and type its address under Settings > Model"
        return CheckResult("backend", "problem", f"{backend} answers, but is no cdsel", fix)
    if health.get("status") == "DOWN":
        fix = f"read {backend}/health with the login of the dashboard: it says what is amiss"
        return CheckResult("backend", "problem", f"cdsel at {backend} says that it is DOWN", fix)
    return CheckResult("backend", "ok", f"cdsel {health.get('version')} answers at {backend}")
