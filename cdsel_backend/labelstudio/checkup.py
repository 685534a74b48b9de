"""What can be wrong between Label Studio and us, told from outside: address, token, switches, webhooks, images.

Nothing here changes anything in Label Studio: the probes of its switches send what it refuses in any case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import httpx

from cdsel_backend.labelstudio.client import LabelStudio, LabelStudioError, NotFound
from cdsel_backend.labelstudio.images import ImageReader
from cdsel_backend.labelstudio.labels import UnsupportedLabelConfig, parse_label_space
from cdsel_backend.labelstudio.trust import certificates
from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.store.records import Json

MEASURED = "1.23."  # the releases of Label Studio that this backend was measured against
IMAGES = 5  # of a pool that are read for a try
FORBIDDEN = 403
TIMEOUT = 5.0


@dataclass(frozen=True)
class CheckResult:
    """One line of the report: what was looked at, how it stands, and what to do where it is not well."""

    subject: str
    level: Literal["ok", "warning", "problem"]
    words: str
    project: int | None = None
    webhook: int | None = None
    """A webhook that had better go; its id."""
    studio: str = ""
    """The Label Studio that has this webhook."""


def check_studio(studio: LabelStudio) -> CheckResult:
    """Whether Label Studio answers and takes the token.

    Raises:
        LabelStudioError: it does not; nothing else need be asked.
    """
    release = studio.version()
    if release.startswith(MEASURED):
        return CheckResult("Label Studio", "ok", f"release {release} at {studio.url}, and the token is good")
    return CheckResult(
        "Label Studio",
        "warning",
        f"release {release} at {studio.url}: this backend was measured against {MEASURED}x; look at the change log of "
        "both before you rely on it",
    )


def check_switches(studio: LabelStudio, backend: str) -> Iterator[CheckResult]:
    """Whether Label Studio lets itself call a backend, and a webhook, at our address.

    It judges an address before it looks at the rest of a request, so that one without a project tells all.
    """
    for path, what, switch in (
        ("/api/ml", "Connect Model", "ML_BLOCK_LOCAL_IP"),
        ("/api/webhooks/", "webhooks", "SSRF_PROTECTION_ENABLED"),
    ):
        try:
            studio.request("POST", path, {"url": f"{backend}/webhook"})
        except LabelStudioError as fault:
            if fault.status == FORBIDDEN:
                yield CheckResult(
                    switch,
                    "problem",
                    f"Label Studio refuses {backend} for {what} ({fault}): start Label Studio with {switch}=false in "
                    "its environment, or give this backend a public address (CDSEL_PUBLIC_URL)",
                )
                continue
            if fault.status is None or fault.status >= 500 or fault.status == 401:
                yield CheckResult(
                    switch, "warning", f"it cannot be told whether {what} may call {backend}: {fault}"
                )
                continue
        yield CheckResult(switch, "ok", f"Label Studio lets {what} call {backend}")


def check_backend(backend: str) -> CheckResult:
    """Whether this backend answers at the address that Label Studio knows; as seen from here."""
    health = _health(backend)
    if health is None:
        return CheckResult(
            "backend",
            "warning",
            f"nobody answers at {backend}/health from here: start `cdsel serve`, or, if only Label Studio reaches it "
            "there, ask the same from its machine",
        )
    if health.get("model_class") != "cdsel":
        return CheckResult(
            "backend", "problem", f"{backend} answers, but is no cdsel: another server has that port"
        )
    return CheckResult("backend", "ok", f"cdsel {health.get('version')} answers at {backend}")


def check_connection(studio: LabelStudio, project: int, backend: str) -> CheckResult:
    """Whether a project has this backend under Settings > Model, once."""
    connected = [one["url"].rstrip("/") for one in studio.backends(project)]
    if connected.count(backend) == 1:
        return CheckResult("connection", "ok", f"Settings > Model has {backend}", project)
    if backend in connected:
        return CheckResult(
            "connection",
            "warning",
            f"Settings > Model has {backend} {connected.count(backend)} times: delete all but one",
            project,
        )
    others = f" (it has {', '.join(sorted(set(connected)))})" if connected else ""
    return CheckResult(
        "connection",
        "problem",
        f"Settings > Model lacks {backend}{others}: connect it there, or labels arrive by polling only",
        project,
    )


def check_webhooks(
    studio: LabelStudio,
    expected: Mapping[int, tuple[str, Mapping[str, str]]],
    backends: Mapping[int, Iterable[str]],
) -> Iterator[CheckResult]:
    """Whether each project has one good webhook of ours, and which webhooks are orphans.

    An orphan ends in /webhook, belongs to no backend of its project, and nobody answers there: Label Studio leaves it
    behind when a backend is deleted, and waits for it within every submission.

    Args:
        studio: where to look.
        expected: project -> the address and the headers of its webhook.
        backends: project -> the addresses under its Settings > Model; what is not here is asked for.
    """
    hooks: dict[int, list[Json]] = {}
    for hook in sorted(studio.get("/api/webhooks/"), key=lambda hook: int(hook["id"])):
        if hook["project"] is not None:
            hooks.setdefault(hook["project"], []).append(hook)
    for project, (url, headers) in expected.items():
        own = [hook for hook in hooks.get(project, ()) if hook["url"] == url]
        yield _judge(project, url, headers, own)
        for double in own[1:]:
            words = f"webhook {double['id']} to {url} is there twice: every event is sent twice"
            yield CheckResult("webhook", "warning", words, project, double["id"], studio.url)
    answers: dict[str, bool] = {}
    for project, found in hooks.items():
        for hook in found:
            base, _, path = hook["url"].rpartition("/")
            if path != "webhook" or hook["url"] == expected.get(project, ("",))[0]:
                continue
            known = backends.get(project)
            if known is None:
                known = [one["url"].rstrip("/") for one in studio.backends(project)]
            if base in known:
                continue
            if base not in answers:
                answers[base] = _health(base) is not None
            if answers[base]:
                words = f"webhook {hook['id']} to {hook['url']} belongs to no backend of the project"
                yield CheckResult(
                    "webhook", "warning", f"{words}, but somebody answers: see whose it is", project
                )
            else:
                words = f"webhook {hook['id']} to {hook['url']} is an orphan: it belongs to no backend of the project"
                yield CheckResult(
                    "webhook", "warning", f"{words}, and nobody answers", project, hook["id"], studio.url
                )


def _judge(project: int, url: str, headers: Mapping[str, str], own: list[Json]) -> CheckResult:
    mend = "`cdsel serve` mends it at its next look at the project"
    if not own:
        return CheckResult("webhook", "problem", f"there is no webhook to {url}; {mend}", project)
    kept = own[0]
    if not kept["is_active"] or not kept["send_payload"]:
        return CheckResult(
            "webhook", "problem", f"webhook {kept['id']} is off or sends no payload; {mend}", project
        )
    if dict(kept["headers"] or {}) != dict(headers):
        words = (
            "lacks the token of this backend, so that its events are refused"
            if headers
            else ("has headers that this backend does not ask for")
        )
        return CheckResult("webhook", "problem", f"webhook {kept['id']} {words}; {mend}", project)
    if not kept["send_for_all_actions"] and "ANNOTATION_CREATED" not in (kept["actions"] or ()):
        words = f"webhook {kept['id']} does not send ANNOTATION_CREATED: labels arrive by polling only"
        return CheckResult("webhook", "warning", words, project)
    return CheckResult("webhook", "ok", f"one webhook to {url}", project)


def check_project(studio: LabelStudio, project: int) -> Iterator[CheckResult]:
    """Whether the labeling config can be used, and whether the first images of a pool can be read."""
    try:
        found = studio.project(project)
    except NotFound:
        words = (
            "Label Studio has no such project for this token's account: it was deleted, or the token changed"
        )
        yield CheckResult("project", "problem", words, project)
        return
    try:
        space = parse_label_space(found["label_config"])
    except UnsupportedLabelConfig as fault:
        yield CheckResult("labeling config", "problem", str(fault), project)
        return
    words = f"{len(space.classes)} classes on {space.image.value}"
    yield CheckResult("labeling config", "ok", "; ".join((words, *space.notes)), project)
    reader, faults, read = ImageReader(studio), [], 0
    for task in islice(studio.tasks(project), IMAGES):
        try:
            reader.read(space.image.read(task["data"]) or "", task["id"])
            read += 1
        except UnreadableImage as fault:
            faults.append(f"task {task['id']}: {fault}")
    if faults:
        level: Literal["warning", "problem"] = "warning" if read else "problem"
        yield CheckResult(
            "images", level, f"{read} of {read + len(faults)} could be read; {faults[0]}", project
        )
    elif read:
        yield CheckResult("images", "ok", f"the first {read} can be read", project)
    else:
        yield CheckResult("images", "warning", "the pool is empty: import images into it", project)


def _health(base: str) -> Json | None:
    """What /health of a backend answers: {} for what is no JSON, none when nobody answers."""
    try:
        answer = httpx.get(f"{base}/health", timeout=TIMEOUT, verify=certificates())
        health = answer.json()
    except ValueError:
        return {}
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    return health if isinstance(health, dict) else {}
