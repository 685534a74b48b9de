"""The annotators of a project in numbers: quotas, queues, and how far they agree.

`project_status` holds both answers, so that /projects/<id>/status.json does, too:

- `annotators`: a list, one entry for each account that `annotators` names or named: `email`, `quota` (none: named no
  more), `known` (Label Studio knows the account), `queue_project` (id in Label Studio, or none yet), `placed` (images
  in the queue so far), `open` (of these, not labelled by anybody), `labelled` (images she labelled, in whatever queue).
- `agreement`: `images` (labelled by two people), `agree`, `kappa` and `interval` (or none), `sentence`, and `pairs`,
  the same for every two with `annotators` (e-mail, or "user 7"). Empty ({}) while no image was labelled by two people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cdsel_backend.labels import kind_of, label_names
from cdsel_backend.server.kept import kept
from cdsel_backend.store import State
from cdsel_backend.store.facts import ACCOUNTS_FACT
from cdsel_backend.store.records import Annotation, Json
from cdsel_backend.training.agreement import agreement


@dataclass(frozen=True)
class AnnotatorNumbers:
    """An account with a queue or a quota, in numbers; the module says what each means."""

    email: str
    quota: int | None
    known: bool
    queue_project: int | None
    placed: int
    open: int
    labelled: int


def annotators(state: State) -> list[AnnotatorNumbers]:
    """Every account with a queue or a quota."""
    labelled, quotas = state.labelled_by, state.settings.annotators
    answer = []
    for email in dict.fromkeys((*quotas, *state.annotators)):
        known = state.annotators.get(email)
        placed = state.placed.get(email, set())
        if email not in quotas and not placed:
            continue
        answer.append(
            AnnotatorNumbers(
                email=email,
                quota=quotas.get(email),
                known=known is not None and known.user is not None,
                queue_project=known.queue_project if known else None,
                placed=len(placed),
                open=len(placed & state.open),
                labelled=len(labelled.get(str(known.user), ())) if known else 0,
            )
        )
    return answer


def agreement_of(state: State) -> Json:
    """How far people agree on the images that two of them labelled, the newest label of each."""
    twice = [rows[:2] for rows in _several(state).values()]
    if not twice:
        return {}
    texts = [str(row.label) for pair in twice for row in pair]
    names_in = {text: label_names(text) for text in set(texts)}
    named = [names_in[text] for text in texts]
    # Labels from before a labeling config asked for several classes are read as labels of several.
    kind = max((kind_of([text]) for text in names_in), key=lambda kind: kind.several)
    classes = sorted({name for names in named for name in names})
    values = kind.encode([kind.text(names, empty_counts=True) for names in named], classes)
    codes = kind.codes(values).reshape(len(twice), 2, -1)
    names = names_of(state)
    first, second = ([name_of(pair[side].annotator, names) for pair in twice] for side in (0, 1))
    raters, seed = list(zip(first, second, strict=True)), state.settings.seed
    return kept(
        lambda: agreement(codes[:, 0], codes[:, 1], raters, seed=seed), "agreement", codes, raters, seed
    )


@dataclass(frozen=True)
class PaceNumbers:
    """How long an annotator, or all together, take for an image: a median of `count` annotations, in seconds."""

    name: str
    count: int
    seconds: float


def paces(state: State) -> list[PaceNumbers]:
    """The pace of each annotator who has enough measured annotations, the quickest first."""
    names = names_of(state)
    found = [
        PaceNumbers(name_of(user, names), times.count, times.seconds)
        for user, times in state.pace.by_annotator.items()
    ]
    return sorted(found, key=lambda row: (row.seconds, row.name))


def work_left(state: State) -> float | None:
    """Seconds of annotators' work that is left: open images and those that the budget still lets into the queue."""
    every = state.pace.every
    images = (len(state.open) + state.left) * (1 + state.settings.overlap)
    return None if every is None else images * every.seconds


def disagreements(state: State) -> dict[int, list[tuple[str, str]]]:
    """Item -> who labelled it how (the newest label of each), where not all labels are the same.

    Where somebody marked what is ground truth, there is nothing left to decide.
    """
    names, adjudicated = names_of(state), state.adjudicated
    return {
        item: [(name_of(row.annotator, names), str(row.label)) for row in rows]
        for item, rows in _several(state).items()
        if len({row.label for row in rows}) > 1 and item not in adjudicated
    }


def _several(state: State) -> dict[int, list[Annotation]]:
    """Item -> the newest label of each who labelled it, where several people did."""
    several = state.several_readings.items()
    known = {item: [row for row in rows if row.annotator] for item, rows in several}
    return {item: rows for item, rows in known.items() if len(rows) > 1}


def names_of(state: State) -> dict[str, str]:
    """User id -> e-mail, of the accounts that Label Studio named so far."""
    accounts = state.store.fact(ACCOUNTS_FACT) or {}
    quotas = {str(row.user): row.email for row in state.annotators.values() if row.user is not None}
    return {number: email for number, email in accounts.items() if email} | quotas


def name_of(annotator: str, names: Mapping[str, str]) -> str:
    """Who gave a label: her e-mail where it is known, else her number in Label Studio."""
    return names.get(annotator) or (f"user {annotator}" if annotator else "somebody")
