"""The model card of a version: what it learned from, how good it is and for whom, and what it must not be used for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

from cdsel_backend.confounders import Report
from cdsel_backend.export.version import WholeVersion
from cdsel_backend.phrases import number_of
from cdsel_backend.project.sentences.models import HEADLINES, outcome
from cdsel_backend.store import State
from cdsel_backend.store.records import Json
from cdsel_backend.training import PresenceModel


def model_card(version: WholeVersion, state: State) -> str:
    """Return the card as Markdown; the metrics are those on the labels that were held out when it was trained."""
    return "\n".join(
        [*_about(version, state), *_data(version, state), *_confounders(version, state)]
    ) + "\n".join(["", *_metrics(version), *_use(version), ""])


def _about(version: WholeVersion, state: State) -> Iterator[str]:
    settings, libraries = version.settings, version.meta.get("libraries", {})
    weights = f", weights {settings.backbone_weights}" if settings.backbone_weights else ""
    height, width = version.backbone.size
    tuned = ", and the same with its last stage fine-tuned" if version.tuned is not None else ""
    yield f"# Model card: {_plain(version.name)}"
    yield ""
    yield from _table(
        ("", ""),
        [
            ("version", version.name),
            ("trained", _day(version.training.created_at)),
            ("card written", _day(datetime.now(timezone.utc).timestamp())),
            ("project", f"{state.project.title or 'project'} ({state.project.pool_project})"),
            ("outcome", outcome(version.training.outcome)),
            ("classes", ", ".join(version.model.classes)),
            ("backbone", f"{settings.backbone}{weights}, {width} x {height} pixels{tuned}"),
            ("fingerprint of the backbone", version.backbone.fingerprint),
            ("libraries", ", ".join(f"{name} {number}" for name, number in libraries.items())),
        ],
    )


def _data(version: WholeVersion, state: State) -> Iterator[str]:
    described = version.model.describe()
    yield from ("", "## Data", "")
    yield (
        f"{number_of(version.training.label_count, 'labelled image')}, of which {described['n']} were trained on; the "
        f"others were held out for evaluation. They were chosen by the strategy `{version.settings.strategy}` from a "
        f"pool of {number_of(state.item_count, 'image')}, so classes and levels are not as frequent in them as in the "
        "pool."
    )
    split = (
        f"`{version.settings.group}` (no image of one {version.settings.group} is on both sides)"
        if version.settings.group
        else "image; no setting names the patient, so images of one patient may be on both sides"
    )
    yield f"Split by {split}. Hash of the labels: `{version.meta.get('label_snapshot')}`."
    yield ""
    yield from _table(("class", "labels trained on"), list(described["counts"].items()))


def _confounders(version: WholeVersion, state: State) -> Iterator[str]:
    described = version.model.describe()
    names = described["confounders"]
    yield from ("", "## Confounders", "")
    if names:
        yield (
            f"The model corrects for {', '.join(f'`{_plain(name)}`' for name in names)} (strength "
            f"{described['strength']:g} of 1). It asks for the level of each; where that is not known, nothing is "
            "corrected."
        )
    else:
        yield "The model corrects for no variable."
    findings = Report.from_json(state.project.report).findings
    if findings:
        yield from ("", "The verdicts of the project's report as it stands now:", "")
        yield from _table(
            ("variable", "verdict", "encoded (AUROC)", "within one label", "associated (V)"),
            [
                (
                    finding.variable,
                    finding.verdict.value,
                    *map(_number, (finding.encoded, finding.given_label, finding.associated)),
                )
                for finding in findings
            ],
        )


def _metrics(version: WholeVersion) -> Iterator[str]:
    metrics = version.training.metrics
    yield from ("", "## Metrics", "")
    yield f"On {number_of(metrics.get('n', 0), 'label')} that it was not trained on, with 95 % intervals."
    yield ""
    intervals, reasons = metrics.get("intervals", {}), metrics.get("reasons", {})
    yield from _table(
        ("measure", "value", "interval"),
        [
            (name, _number(metrics.get(key)), _interval(intervals.get(key)) or reasons.get(key, ""))
            for key, name in HEADLINES.items()
        ],
    )
    groups = metrics.get("groups", ())
    if groups:
        yield ""
        yield from _table(
            ("group", "n", "patients", "accuracy", ""),
            [
                (
                    group["group"],
                    group["n"],
                    group.get("patients", ""),
                    _number(group["accuracy"]),
                    _remark(group, metrics),
                )
                for group in groups
            ],
        )


def _use(version: WholeVersion) -> Iterator[str]:
    several = isinstance(version.model, PresenceModel)
    yield from ("", "## Intended use", "")
    yield (
        "To help label images of the same kind, to choose which to label next, and for research on them. It is no "
        "medical device: it was not validated for diagnosis, and no decision on a patient may rest on it."
    )
    yield from ("", "## Limits", "")
    yield (
        "- The probabilities are calibrated for classes that are equally frequent"
        + (" (each class shown by half of the images)" if several else "")
        + ". Where they are not, the decision threshold has to be set on data of the place of use."
    )
    yield "- Images of another scanner, site, age group or preparation than those above were not tested."
    yield "- Groups marked as too few to say may be served worse than any number here tells."
    yield "- What confounds and is in no metadata cannot be seen by this report."
    for sentence in (version.training.metrics.get("insight") or {}).get("one_class", ()):
        yield f"- {_plain(sentence)}"
    if isinstance(version.model, PresenceModel) and version.model.left_out:
        yield f"- Not learned, for want of both outcomes: {', '.join(map(_plain, version.model.left_out))}."


def _remark(group: Json, metrics: Json) -> str:
    if group["unreliable"]:
        return "too few to say"
    return "worst group" if group["group"] == metrics.get("worst_group") else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    for line in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(_plain(cell) for cell in line) + " |"


def _plain(value: object) -> str:
    """Text of people as it can stand in a cell: one line, no mark-up of its own."""
    text = " ".join(str(value).split())
    for mark, escaped in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("`", "'")):
        text = text.replace(mark, escaped)
    return text


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d")


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _interval(ends: Sequence[float] | None) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else ""
