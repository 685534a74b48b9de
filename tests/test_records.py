"""What the database keeps as JSON or text, read as records; also what an earlier version kept as sentences."""

from __future__ import annotations

from dataclasses import fields

import pytest
from sqlalchemy import insert

from cdsel_backend.project.sentences.models import outcome
from cdsel_backend.project.sentences.steps import doing
from cdsel_backend.store import Store, records, schema
from cdsel_backend.store.activity import Activity, Step
from cdsel_backend.store.database import writing
from cdsel_backend.store.records import Became, Outcome


@pytest.mark.parametrize("step", Step)
def test_every_step_is_kept_and_has_a_sentence(step: Step) -> None:
    activity = Activity(step, 1, 2, 3)
    assert Activity.read(activity.to_json()) == activity
    assert doing(activity)


@pytest.mark.parametrize(
    "kept", [{}, {"step": "no image is left to select", "done": 0, "total": 0}, {"step": 3}]
)
def test_the_activity_of_an_earlier_version_is_no_step(kept: dict[str, object]) -> None:
    assert Activity.read(kept) == Activity(Step.STARTING)


@pytest.mark.parametrize(
    "found",
    [
        Outcome(Became.PROMOTED),
        Outcome(Became.PROMOTED, "v1", new_labels=3),
        Outcome(Became.KEPT_OUT, "v1"),
        Outcome(Became.NO_MODEL, explanation="labels of two classes are needed"),
    ],
)
def test_an_outcome_is_kept_as_it_was(found: Outcome) -> None:
    assert Outcome.read(found.to_text()) == found
    assert outcome(found)


@pytest.mark.parametrize("name", ["words", "explanation"])
def test_an_outcome_that_another_program_of_this_schema_kept_is_read(name: str) -> None:
    kept = f'{{"became": "kept out", "champion": "v1", "new_labels": null, "{name}": "why", "of_later": 1}}'
    assert Outcome.read(kept) == Outcome(Became.KEPT_OUT, "v1", explanation="why")


@pytest.mark.parametrize(
    ("sentence", "became"),
    [
        ("promoted", Became.PROMOTED),
        ("promoted without a comparison: the setting `group` changed", Became.PROMOTED),
        ("kept out: worse than cdsel-3-v1 on the held-out labels", Became.KEPT_OUT),
        ("a model needs labels of at least two classes", Became.NO_MODEL),
    ],
)
def test_sentences_of_an_earlier_version_are_read(store: Store, sentence: str, became: Became) -> None:
    project = store.connect_project("http://studio", 3)
    row = {"project": project, "number": 1, "round": 1, "labels": {}, "metrics": {}, "created_at": 1.0}
    with writing(store.engine) as connection:
        connection.execute(insert(schema.trainings).values(outcome=sentence, **row))
    (training,) = store.trainings(project)
    assert training.outcome.became is became
    assert outcome(training.outcome) == sentence


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        (records.Project, schema.projects),
        (records.Item, schema.items),
        (records.Annotation, schema.labels),
        (records.Round, schema.rounds),
        (records.Selection, schema.selections),
        (records.Copy, schema.copies),
        (records.Annotator, schema.annotators),
        (records.Training, schema.trainings),
        (records.Event, schema.events),
        (records.AuditEntry, schema.audit),
    ],
)
def test_a_record_has_columns_of_its_table(kind, table) -> None:
    assert {one.name for one in fields(kind)} <= {column.name for column in table.columns}
