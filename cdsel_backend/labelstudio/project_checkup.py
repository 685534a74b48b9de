"""What can be wrong with a project in Label Studio: its backend, webhooks, labeling config, storages and images.

Nothing here changes anything in Label Studio.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from urllib.parse import urlsplit

from cdsel_backend.labelstudio.checkup import CheckResult, Level
from cdsel_backend.labelstudio.client import LabelStudio, LabelStudioError, NotFound
from cdsel_backend.labelstudio.health import ask_health
from cdsel_backend.labelstudio.images import ImageReader
from cdsel_backend.labelstudio.labels import LabelSpace, UnsupportedLabelConfig, parse_label_space
from cdsel_backend.phrases import number_of
from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.store.records import Json

TASKS, EACH, IMAGES = 1000, 2, 8  # tasks looked through, images read of each source, and in all
BAD_SYNCS = ("failed", "completed_with_errors")


def check_connection(connected: Sequence[str], project: int, backend: str) -> CheckResult:
    """Whether a project has this backend, once, among the addresses under Settings > Model."""
    if connected.count(backend) == 1:
        return CheckResult("connection", "ok", f"Settings > Model has {backend}", project=project)
    if backend in connected:
        message = f"Settings > Model has {backend} {connected.count(backend)} times"
        return CheckResult("connection", "warning", message, "delete all but one there", project)
    others = f" (it has {', '.join(sorted(set(connected)))})" if connected else ""
    fix = "connect it there, or labels arrive by polling only"
    return CheckResult("connection", "problem", f"Settings > Model lacks {backend}{others}", fix, project)


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
    remove = "`cdsel doctor --fix` removes it"
    for project, (url, headers) in expected.items():
        own = [hook for hook in hooks.get(project, ()) if hook["url"] == url]
        yield _judge(project, url, headers, own)
        for double in own[1:]:
            message = f"webhook {double['id']} to {url} is there twice: every event is sent twice"
            yield CheckResult("webhook", "warning", message, remove, project, double["id"], studio.url)
    answers: dict[str, bool] = {}
    for project, found in hooks.items():
        for hook in found:
            base, _, path = hook["url"].rpartition("/")
            if path != "webhook" or hook["url"] == expected.get(project, ("",))[0]:
                continue
            known = backends.get(project)
            if known is None:
                known = [row["url"] for row in studio.backends(project)]
            if base in known:
                continue
            if base not in answers:
                answers[base] = ask_health(base, by_proxy=True) is not None
            message = f"webhook {hook['id']} to {hook['url']} belongs to no backend of the project"
            if answers[base]:
                fix = "see whose it is; delete it under Settings > Webhooks if nobody needs it"
                yield CheckResult(
                    "webhook", "warning", f"{message}, but somebody answers there", fix, project
                )
            else:
                message += ", and nobody answers there: it is an orphan"
                yield CheckResult("webhook", "warning", message, remove, project, hook["id"], studio.url)


def _judge(project: int, url: str, headers: Mapping[str, str], own: list[Json]) -> CheckResult:
    fix = "`cdsel serve` mends it at its next look at the project"

    def problem(message: str) -> CheckResult:
        return CheckResult("webhook", "problem", message, fix, project)

    if not own:
        return problem(f"there is no webhook to {url}")
    kept = own[0]
    if not kept["is_active"] or not kept["send_payload"]:
        return problem(f"webhook {kept['id']} is off or sends no payload")
    if dict(kept["headers"] or {}) != dict(headers):
        if headers:
            return problem(
                f"webhook {kept['id']} lacks the token of this backend, so that its events are refused"
            )
        return problem(f"webhook {kept['id']} has headers that this backend does not ask for")
    if not kept["send_for_all_actions"] and "ANNOTATION_CREATED" not in (kept["actions"] or ()):
        message = f"webhook {kept['id']} does not send ANNOTATION_CREATED: labels arrive by polling only"
        return CheckResult(
            "webhook", "warning", message, "choose Send for all actions under Settings > Webhooks", project
        )
    return CheckResult("webhook", "ok", f"one webhook to {url}", project=project)


def check_project(studio: LabelStudio, project: int, *, outside: bool = False) -> Iterator[CheckResult]:
    """Whether the labeling config can be used, its storages were synced, and some images of each can be read.

    Args:
        studio: where to look.
        project: the connected project.
        outside: whether its pool lies outside Label Studio, so that it has no task before the first round.
    """
    try:
        found = studio.project(project)
    except NotFound:
        message = (
            "Label Studio has no such project for this token's account: it was deleted, or the token changed"
        )
        fix = "use a token of the account that has the project, or remove the project on the dashboard"
        yield CheckResult("project", "problem", message, fix, project)
        return
    try:
        space = parse_label_space(found["label_config"])
    except UnsupportedLabelConfig as fault:
        fix = "change it under Settings > Labeling Interface; label_config/ has a template of each kind"
        yield CheckResult("labeling config", "problem", str(fault), fix, project)
        return
    message = "; ".join(
        (f"{number_of(len(space.classes), 'class', 'classes')} on {space.image.value}", *space.notes)
    )
    yield CheckResult("labeling config", "ok", message, project=project)
    yield from _check_storages(studio, project)
    tasks = list(islice(studio.tasks(project, unreadable=set()), TASKS))
    if tasks or not outside:
        yield _check_images(studio, project, space, tasks)


def _check_storages(studio: LabelStudio, project: int) -> Iterator[CheckResult]:
    try:
        storages = [
            row for row in studio.get("/api/storages/", {"project": project}) if isinstance(row, dict)
        ]
    except LabelStudioError as fault:
        fix = "give the token's account a role that may see them"
        yield CheckResult("storage", "warning", f"storages cannot be listed: {fault}", fix, project)
        return
    for storage in storages:
        name = f"{storage.get('type', '')} storage {storage.get('title') or storage.get('id')}".strip()
        if storage.get("status") in BAD_SYNCS:
            last = [line for line in str(storage.get("traceback") or "").splitlines() if line.strip()][-1:]
            reason = f": {last[0].strip()[:300]}" if last else ""
            fix = "see its error under Settings > Cloud Storage, and sync it again"
            yield CheckResult("storage", "warning", f"{name}: the last sync failed{reason}", fix, project)
        else:
            yield CheckResult("storage", "ok", f"{name}: {storage.get('status') or 'there'}", project=project)


def _check_images(studio: LabelStudio, project: int, space: LabelSpace, tasks: Sequence[Json]) -> CheckResult:
    """Read a few images of each host, bucket or folder that the first tasks name."""
    chosen: dict[tuple[str, str, str], list[Json]] = {}
    for task in tasks:
        parts = urlsplit(space.image.read(task["data"]) or "")
        folder = "/".join(parts.path.split("/")[:3])
        alike = chosen.setdefault((parts.scheme, parts.netloc, folder), [])
        if len(alike) < EACH:
            alike.append(task)
    reader, faults, read = ImageReader(studio), [], 0
    for task in [task for alike in chosen.values() for task in alike][:IMAGES]:
        try:
            reader.read(space.image.read(task["data"]) or "", task["id"])
            read += 1
        except UnreadableImage as fault:
            faults.append(f"task {task['id']}: {fault}")
    if faults:
        level: Level = "warning" if read else "problem"
        message = f"{read} of {read + len(faults)} could be read; {faults[0]}"
        fix = "let Label Studio serve them (Settings > Cloud Storage), or see CDSEL_IMAGE_HOSTS and CDSEL_IMAGE_ROOTS"
        return CheckResult("images", level, message, fix, project)
    if read:
        return CheckResult("images", "ok", f"{read} of the first tasks can be read", project=project)
    return CheckResult("images", "warning", "the pool is empty", "import images into it", project)
