"""Every sentence that people read and that is made from facts; code compares the facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cdsel_backend.labels import display_label
from cdsel_backend.labels.pace import FEWEST_TIMES
from cdsel_backend.phrases import form, listed, number_of, numbered
from cdsel_backend.settings import ProjectSettings, Refusal
from cdsel_backend.store import State
from cdsel_backend.store.activity import Activity, Step
from cdsel_backend.store.problems import POOL_GONE
from cdsel_backend.store.records import Became, Item, Json, Outcome

HEADLINES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced over the classes",
    "group_balanced_accuracy": "mean over the groups",
    "worst_group_accuracy": "worst group",
    "within_group_auc": "AUROC within groups",
    "calibration_error": "calibration error",
}
"""What a model is measured by -> its name for people."""
TASKS_SHOWN = 5  # of annotations that have the same problem


def few_labels(state: State, labels: int) -> str | None:
    """That a training on so many labels has fewer than Label Studio's project asks for; None if it has not."""
    least = state.project.least_labels
    if labels >= least:
        return None
    return (
        f"{number_of(labels, 'label is', 'labels are')} fewer than the {least} from which this project trains by "
        "itself (min_annotations_to_start_training in Label Studio)"
    )


def early_training(state: State) -> list[str]:
    """That the newest training had fewer labels than Label Studio's project asks for, as a sentence if so."""
    # Snapshots of labels are large: they are not read where nothing is asked for.
    newest = state.trainings[-1] if state.project.least_labels and state.trainings else None
    few = few_labels(state, len(newest.labels)) if newest is not None else None
    return [f"the newest training came early: {few}"] if few else []


def annotation_problems(state: State) -> list[str]:
    """What is wrong with annotations: a line each, or one for many of which the same is wrong."""
    by_fault: dict[str, list[tuple[int, str]]] = {}
    for row in state.annotations:
        if row.problem:
            by_fault.setdefault(row.problem.partition(": ")[2], []).append((row.task or 0, row.problem))
    lines: set[str] = set()
    for fault, found in by_fault.items():
        if len(found) <= TASKS_SHOWN:
            lines.update(problem for _, problem in found)
            continue
        tasks = sorted({task for task, _ in found})
        lines.add(f"{number_of(len(found), 'annotation')} ({numbered('task', tasks, TASKS_SHOWN)}): {fault}")
    return sorted(lines)


def conflicting_labels(state: State) -> list[str]:
    """That tasks which show the same picture are labelled differently, as a sentence if some are."""
    conflicts = [
        items
        for items in state.same_images
        if len({state.labels[item] for item in items & state.labels.keys()}) > 1
    ]
    if not conflicts:
        return []
    labelled = sorted(conflicts[0] & state.labels.keys())
    rows = state.store.items_by_id(labelled)
    names = [
        f"task {row.task}" if row.source is None else str(row.key) for row in map(rows.__getitem__, labelled)
    ]
    texts = [display_label(text) for text in dict.fromkeys(state.labels[item] for item in labelled)]
    return [
        f"{number_of(len(conflicts), 'picture is', 'pictures are')} in the pool several times, byte for byte, and "
        f"labelled differently, such as {listed(names, TASKS_SHOWN)} ({listed(texts, TASKS_SHOWN)}): correct or delete "
        "the labels that are wrong; until then each is learned"
    ]


def left_out(unusable: int, items: int, shown: Sequence[Item]) -> list[str]:
    """That more images cannot be used than can, and the reason that `shown` of them have most often, as a sentence."""
    if 2 * unusable <= items:
        return []
    reasons = Counter(row.problem for row in shown if row.problem)
    ((reason, _),) = reasons.most_common(1) or [("no reason is known", 0)]
    whole = "none" if unusable == items else f"only {items - unusable:,}"
    return [
        f"{whole} of the {_images(items)} of the pool can be used, and {unusable:,} cannot; most often: {reason}. "
        "The page Activity lists them with the reason"
    ]


def doing(activity: Activity) -> str:
    """What the worker does for a project, or what that waits for; to be followed by its progress."""
    if activity.step is Step.WAITING_FOR_LABELS:
        return f"waiting for labels of {number_of(activity.open, 'image')}"
    return _DOING[activity.step]


_DOING = {
    Step.STARTING: "starting",
    Step.EMBEDDING: "embedding images",
    Step.DETECTING: "looking for confounders",
    Step.TRAINING: "training",
    Step.FINE_TUNING: "fine-tuning the backbone",
    Step.SELECTING: "selecting the next round",
    Step.FILLING_QUEUE: "filling the queue",
    Step.EMBEDDING_QUEUE: "embedding the queue by the fine-tuned backbone",
    Step.NO_IMAGES: "waiting for images in the pool project",
    Step.PAUSED: "paused",
    Step.BUDGET_USED: "the budget is used up",
    Step.QUOTAS_USED: "the annotators' quotas are used up",
    Step.POOL_USED: "no image is left to select",
    Step.DISCONNECTED: "standing still: this backend was removed from the project in Label Studio",
    Step.ANOTHER_BACKEND: "standing aside: another backend works for this project",
    Step.STANDS_STILL: "standing still: a problem keeps it from its work",
}


def taking_long(step: str, seconds: float) -> str:
    """That a project has been at one step for long."""
    return (
        f"This project has been at one step ({step.replace('_', ' ') or 'its first'}) for more than {seconds / 60:.0f} "
        "minutes: its images, its storage or Label Studio may answer slowly or not at all. Other projects go on."
    )


def next_step(state: State, *, images: int, read: int) -> str:
    """What comes next, as a sentence or two; `read` of the pool's images are embedded, or cannot be."""
    size, waiting = min(state.settings.round_size, state.left), len(state.open)
    if not size:
        after = "Then the budget is used up; raise it to go on."
    elif waiting > state.low_water > 0:
        few = f"{state.low_water} {_is(state.low_water)} left"
        after = f"Round {len(state.rounds) + 1} of {_images(size)} is selected once {few}."
    else:
        after = f"Then round {len(state.rounds) + 1} of {_images(size)} is selected."
    if POOL_GONE in state.project.problems:
        return "Nothing: this project is not in Label Studio any more."
    if state.disconnected:
        return (
            "Nothing is selected or pushed until Label Studio has this backend again. Labels of open images still "
            "come in."
        )
    if state.project.activity.step is Step.STANDS_STILL:
        return (
            "Nothing until the problem above is solved; then it goes on by itself. Labels that are given meanwhile are "
            "kept by Label Studio, and learned then."
        )
    if state.settings.paused:
        return "Paused: nothing more is pushed until you resume. Labels still come in."
    if not images:
        return "Import images into the pool project in Label Studio. Everything else follows by itself."
    if read < images:
        return "The images are read and embedded first; the confounder report and the first round follow."
    if waiting:
        return f"{number_of(waiting, 'image waits', 'images wait')} for the annotators. {after}"
    if not size:
        return "The budget is used up. Raise it to get another round."
    if state.project.activity.step is Step.POOL_USED:
        bounds = [
            name for name in ("group_cap", "near_duplicate") if getattr(state.settings, name) is not None
        ]
        loosen = f", or loosen {' or '.join(bounds)}" if bounds else ""
        return f"Every image that the settings allow is chosen. Import more{loosen}."
    return f"Round {len(state.rounds) + 1} of {_images(size)} is selected next."


def first_training(state: State) -> str:
    """That there is no model yet, and when one is trained, as two sentences."""
    settings, least, few = state.settings, state.project.least_labels, state.low_water
    if state.trainings:
        due = "The labels so far do not make one; the next try is once all of the round is labelled, or at "
        return f"No model yet. {due}{number_of(settings.retrain_every, 'new label')}."
    due = f"{_images(few)} of the round {_is(few)} left to label" if few else "the round is labelled"
    sooner = settings.retrain_every < settings.round_size - few
    due += f", or at {number_of(settings.retrain_every, 'label')}" if sooner else ""
    if least:
        due += f", but not before there are {number_of(least, 'label')}"
        due += " (min_annotations_to_start_training in Label Studio)"
    return f"No model yet. The first is trained once {due}."


def _images(count: int) -> str:
    return number_of(count, "image")


def _is(count: int) -> str:
    return form(count, "is", "are")


def outcome(found: Outcome) -> str:
    """What became of a training."""
    if found.explanation:
        return found.explanation
    if found.became is Became.KEPT_OUT:
        return f"kept out: worse than {found.champion} on the held-out labels"
    if found.new_labels is not None:
        return (
            f"promoted without a comparison: the setting `group` changed, and only {found.new_labels} of the "
            f"labels held out now {form(found.new_labels, 'is', 'are')} new to {found.champion}, too few to judge by"
        )
    return str(found.became.value)


def _brief(value: object) -> str:
    """A value as it was written, or its beginning."""
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]} …"


def refused(refusal: Refusal) -> str:
    """That a setting is refused, why, and what is in force instead."""
    if not refusal.known:
        hint = f"did you mean {refusal.near!r}?" if refusal.near else f"they are {_SETTINGS}"
        return f"{refusal.layer}: there is no setting {_brief(refusal.name)} ({hint})"
    stays = "the value below it" if refusal.stays is None else repr(refusal.stays)
    said = f"{refusal.name} = {_brief(refusal.value)}"
    return f"{refusal.layer}: {said} is refused ({refusal.reason}); {stays} stays"


_SOURCES = {
    "default": "the default",
    "environment": "the server's environment",
    "labeling config": "the labeling config in Label Studio",
    "extra parameters": "Label Studio",
    "dashboard": "this dashboard",
}


def source_name(source: str) -> str:
    """A source of a setting, as a person knows it."""
    return "Label Studio (Settings > Model)" if source == "extra parameters" else _SOURCES[source]


def value_text(value: object) -> str:
    """A setting's value as an admin would say it."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {amount}" for name, amount in value.items()) or "none"
    return str(value)


def overruled(state: State, name: str) -> str | None:
    """What another source says of a setting than the one in force, as in "15, set here; Label Studio says 80"."""
    below = state.resolved.below.get(name)
    if below is None:
        return None
    source = state.resolved.sources[name]
    value = state.settings.model_dump(mode="json")[name]
    ours = "set here" if source == "dashboard" else f"from {_SOURCES[source]}"
    return f"{value_text(value)}, {ours}; {_SOURCES[below.layer]} says {value_text(below.value)}"


def lowering(state: State) -> str | None:
    """What becomes of the open images if the budget is lowered; None where none is open."""
    if not state.open:
        return None
    many = len(state.open) != 1
    return (
        f"With a budget below {state.used_images:,}, nothing more is pushed; the "
        f"{f'{len(state.open):,} ' if many else ''}open image{'s stay' if many else ' stays'} in the queue and can "
        "still be labelled."
    )


LONGEST_VALUE = 120  # letters of a value in a sentence
_SETTINGS = ", ".join(ProjectSettings.model_fields)


def pool_gone(pool_project: int) -> str:
    """That the pool project is not there any more, and what can be done."""
    return (
        f"the pool project ({pool_project}) is not in Label Studio any more, or the account of LABEL_STUDIO_API_KEY "
        "may not see it: nothing is pushed, and its labels, models and vectors stay kept here; if it was deleted, "
        "remove it from this dashboard"
    )


def backend_removed(pool_project: int, address: str) -> str:
    """That Label Studio has this backend no more for a project, what becomes of it, and what can be done."""
    return (
        f"this backend was removed under Settings > Model of project {pool_project} in Label Studio: nothing is "
        "selected or pushed any more. Labels of the images that are open in the queue still come in, and labels, "
        f"models and vectors stay kept here. To go on, connect {address} there again; to end it for good, remove the "
        "project from this dashboard"
    )


def sources_lost(pool_project: int) -> str:
    """That the images of a project are from a source that this data folder does not know."""
    return (
        f"the images of project {pool_project} came from outside Label Studio, and this data folder does not know from "
        f"where: name their source again by `cdsel pool add --project {pool_project} SOURCE`; their labels and what is "
        "open come back with it"
    )


def backend_connected_again(pool_project: int) -> str:
    """That Label Studio has this backend again."""
    return f"this backend is under Settings > Model of project {pool_project} in Label Studio again, and goes on there"


def connected_elsewhere(studio_url: str) -> tuple[str, str]:
    """That a project was connected from another Label Studio than that of the environment, and the fix."""
    return (
        f"it was connected from {studio_url}, and LABEL_STUDIO_URL is another address",
        "it stands still; where both are the same Label Studio, set LABEL_STUDIO_URL to the former address",
    )


def budget_in_hours(state: State) -> str | None:
    """What a budget in hours comes to, as a sentence; None where none is set."""
    hours, every = state.settings.budget_hours, state.pace.every
    if hours is None:
        return None
    much = f"{hours:g} {form(hours, 'hour')}"
    if every is None:
        return (
            f"{much} of annotators' time. How many images that is follows from the first "
            f"{FEWEST_TIMES} annotations whose time Label Studio measures; until then it is one round."
        )
    allowed = state.pace.images_in(hours * 3600 / (1 + state.settings.overlap)) or 0
    seconds = every.seconds
    each = f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
    if allowed > state.settings.budget:
        smaller = f"the budget of {state.settings.budget:,} is smaller"
        return f"{much} would allow {_images(allowed)} at {each} each; {smaller}."
    measured = f"the median of {number_of(every.count, 'annotation')}"
    return f"{much} of annotators' time {_is(allowed)} {_images(allowed)} at {each} each, {measured}."


WEBHOOKS = {
    "ANNOTATION_CREATED": "Label Studio: an annotation was submitted",
    "ANNOTATIONS_CREATED": "Label Studio: annotations were submitted",
    "ANNOTATION_UPDATED": "Label Studio: an annotation was changed",
    "ANNOTATIONS_DELETED": "Label Studio: annotations were deleted",
    "TASKS_CREATED": "Label Studio: tasks were imported",
    "TASKS_DELETED": "Label Studio: tasks were deleted",
    "PROJECT_CREATED": "Label Studio: the project was made",
    "PROJECT_UPDATED": "Label Studio: the project was changed",
    "PROJECT_DELETED": "Label Studio: the project was deleted",
    "LARGE_EVENT": "Label Studio: a webhook too large to read, as after a large import",
    "SETUP": "The project was connected, or what Label Studio says of it changed",
    "START_TRAINING": "A training was asked for",
    "SELECT_NOW": "The next round was asked for",
    "TAKE_OVER": "The project was to be taken over",
    "SOURCE_ADDED": "A source outside Label Studio was added to the pool",
    "SOURCE_REMOVED": "A source outside Label Studio was taken out of the pool",
    "TASKS_PUSHED": "Images were pushed into the queue",
    "PREDICTIONS_SHOWN": "Predictions were sent to the queue",
    "TASKS_WITHDRAWN": "Tasks were withdrawn",
    "TASKS_CORRECTED": "Tasks got the metadata of the pool",
    "TASKS_MOVED": "Tasks show their images by a new address",
    "TASKS_RETURNED": "Tasks came back",
    "TASKS_TAKEN_BACK": "Tasks were taken back",
    "CONFIG_KEPT": "A labeling config was changed in Label Studio",
    "IMAGE_HOST_SUSPENDED": "A host of images is left alone for a while",
}
"""What an event is, by its action."""


def webhook_refused(url: str, reason: str, seconds: float) -> str:
    """What is said where Label Studio lets no webhook lead to us."""
    return (
        f"Label Studio refuses our webhook to {url} ({reason}). Labels still come, by a look every {seconds:.0f} "
        "seconds. To have them at once, start Label Studio with SSRF_PROTECTION_ENABLED=false, or give this backend a "
        "public address (CDSEL_PUBLIC_URL)."
    )


def event_text(action: str) -> str:
    """What an event is, for the activity page."""
    return WEBHOOKS.get(action, action.replace("_", " ").capitalize())


def brought(result: Json) -> str:
    """What the look that an event led to brought, as a sentence without its full stop."""
    parts = [
        f"{number_of(count, noun)}{rest}"
        for name, noun, rest in (
            ("answers", "annotation", " new or changed"),
            ("withdrawn", "annotation", " gone"),
            ("images", "image", " more in the pool"),
        )
        if (count := int(result.get(name, 0))) > 0
    ]
    if int(result.get("images", 0)) < 0:
        gone = -int(result["images"])
        parts.append(f"{number_of(gone, 'image')} fewer in the pool")
    return ", ".join(parts) or "nothing new"
