"""The admin's pages: what they say, what they change, and what they refuse."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
import struct
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest
from backend import eventually
from filled import POOL, QUEUE, STUDIO_URL, images_served
from paged import CONFIG, cells, client, embedded, label, post, project, push, rows_of, token_of
from PIL import Image
from werkzeug.exceptions import ServiceUnavailable

from cdsel_backend.confounders import Finding, Report, Verdict, detect
from cdsel_backend.labels import Labels, majority
from cdsel_backend.labelstudio.labels import parse_label_space, settings_refusal
from cdsel_backend.pool.column_reading import read_columns
from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.pool.source import SourceItem
from cdsel_backend.project.audit import audit_rows, moved
from cdsel_backend.project.sentences.models import first_training
from cdsel_backend.project.sentences.steps import next_step
from cdsel_backend.selection import describe, registry, strategies
from cdsel_backend.server.app import create_app
from cdsel_backend.server.kept import kept
from cdsel_backend.server.pages.confounders import _commonest_classes
from cdsel_backend.server.pages.queue import PAGE
from cdsel_backend.server.pages.review import VERDICTS, suspects
from cdsel_backend.server.pages.thumbnails import READERS, SIDE, Thumbnails
from cdsel_backend.settings import ProjectSettings, ServerSettings
from cdsel_backend.store import PoolTask, Selected, State
from cdsel_backend.store.activity import Activity, Step
from cdsel_backend.store.facts import ACCOUNTS_FACT
from cdsel_backend.store.records import Became, Outcome
from cdsel_backend.table import csv_text

PAGES = ("", "/confounders", "/map", "/gallery", "/queue", "/models", "/settings", "/activity")
__all__ = ["client", "project"]  # fixtures
TABLES = (
    "confounders",
    "levels",
    "pool",
    "queue",
    "annotators",
    "rounds",
    "models",
    "groups",
    "suspects",
    "disputed",
    "settings",
    "unusable",
    "events",
    "audit",
)


# what the pages say


@pytest.mark.parametrize("stage", ["connected", "tasks", "embedded", "pushed"])
@pytest.mark.parametrize("page", PAGES)
def test_every_page_has_something_to_say_at_every_stage(client, store, project, stage, page):
    items = embedded(store, project) if stage in ("embedded", "pushed") else []
    if stage == "tasks":
        store.sync_pool(project, [PoolTask(1, {"image": "/1.jpg"}, "/1.jpg")])
    if stage == "pushed":
        push(store, project, items[:3])
    answer = client.get(f"/projects/{POOL}{page}")
    assert answer.status_code == 200
    assert "<h1>" in answer.text
    assert "<script>alert" not in answer.text
    assert "None" not in re.sub(r"None( yet)?[.:]", "", re.sub(r"<[^>]*>", " ", answer.text))
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert not re.search(r'(src|href)="(https?:)?//(?!127\.0\.0\.1)', answer.text)  # works offline


@pytest.mark.parametrize("page", ["", "/gallery", "/models", "/settings"])
def test_a_labeling_config_that_is_not_taken_any_more_is_said_with_the_fix(client, store, project, page):
    """As one that an earlier version of this program took."""
    embedded(store, project)
    store.update_project(project, label_config='<View><Text name="t" value="$t"/></View>')
    answer = client.get(f"/projects/{POOL}{page}", headers={"Accept": "text/html"})
    assert answer.status_code == 409
    assert "has no &lt;Image&gt;: it shows Text" in answer.text
    assert "Correct it in Label Studio, under Settings &gt; Labeling Interface" in answer.text


def test_an_empty_server_says_how_to_connect(client):
    page = client.get("/projects").text
    assert "Connect Model" in page
    assert "http://localhost" in page


def test_projects_of_one_title_are_shown_with_their_numbers(client, store):
    for number, title in ((81, "Skin"), (82, "Skin"), (83, "Lung")):
        store.connect_project(STUDIO_URL, number, title=title, label_config=CONFIG)
    page = client.get("/projects").text
    assert re.findall(r">project (\d+)<", page) == ["81", "82"]
    assert "<title>Overview · Skin (82) · cdsel</title>" in client.get("/projects/82").text


def test_an_unknown_project_is_a_page_to_a_browser_and_json_to_a_script(client):
    answer = client.get("/projects/99", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    mistyped = client.get(f"/projects/{POOL}/images", headers={"Accept": "text/html"})
    assert (mistyped.status_code, "no page" in mistyped.text) == (404, True)
    assert "project 99 of Label Studio is not connected" in answer.text
    assert client.get("/projects/99/status.json").json["error"].startswith("project 99")


def test_what_comes_next_in_each_situation(store, project):
    def says():
        state = State(store, project)
        embedded, unusable, images = store.embedding_progress(project)
        return next_step(state, images=images, read=embedded + unusable)

    assert says().startswith("Import images")
    store.sync_pool(project, [PoolTask(1, {"image": "/1.jpg"}, "/1.jpg")])
    assert "embedded first" in says()
    items = embedded(store, project)
    assert says() == "Round 1 of 20 images is selected next."
    push(store, project, items[:2])
    assert says() == "2 images wait for the annotators. Then round 2 of 20 images is selected."
    store.update_project(project, layers={"dashboard": {"budget": 2}})
    assert says() == "2 images wait for the annotators. Then the budget is used up; raise it to go on."
    label(store, project, dict.fromkeys(items[:2], "cat"))
    assert says() == "The budget is used up. Raise it to get another round."
    due = first_training(State(store, project))
    assert due == "No model yet. The first is trained once 10 images of the round are left to label."
    store.update_project(project, layers={"dashboard": {"refill_at": 0, "retrain_every": 5}}, least_labels=8)
    assert first_training(State(store, project)) == (
        "No model yet. The first is trained once the round is labelled, or at 5 labels, but not before there are "
        "8 labels (min_annotations_to_start_training in Label Studio)."
    )
    store.update_project(project, layers={"dashboard": {"paused": True}})
    assert says().startswith("Paused")
    store.update_project(
        project,
        layers={},
        activity=Activity(Step.POOL_USED).to_json(),
    )
    assert says() == "Every image that the settings allow is chosen. Import more."
    store.update_project(project, layers={"dashboard": {"group_cap": 2, "near_duplicate": 0.9}})
    assert says().endswith("Import more, or loosen group_cap or near_duplicate.")


def test_the_queue_is_in_rank_order_paged_and_filtered(client, store, project):
    items = embedded(store, project, n=60)
    push(store, project, items[:50], sentence="typical of <b>9</b> images")
    label(store, project, {items[0]: "cat", items[1]: None})
    first = client.get(f"/projects/{POOL}/queue").text
    assert re.findall(r'class="rank">(\d+)<', first) == [str(rank) for rank in range(1, PAGE + 1)]
    assert "typical of &lt;b&gt;9&lt;/b&gt; images" in first
    last = client.get(f"/projects/{POOL}/queue?page=99").text
    assert re.findall(r'class="rank">(\d+)<', last) == [str(rank) for rank in range(50 - 50 % PAGE + 1, 51)]
    for state, ranks in (("labelled", ["1"]), ("skipped", ["2"]), ("waiting", [])):
        page = client.get(f"/projects/{POOL}/queue?state={state}").text
        assert re.findall(r'class="rank">(\d+)<', page) == ranks
    assert "48" in re.search(r"With the annotators (\d+)", first)[0]
    assert client.get(f"/projects/{POOL}/queue?page=x&round=y").status_code == 200


def test_every_image_links_to_the_queues_it_lies_in(client, store, project):
    quotas = {"ann@x.org": 4, "bob@x.org": 3}
    store.update_project(project, layers={"dashboard": {"annotators": quotas}})
    store.set_annotators(
        project,
        {"ann@x.org": {"user": 1, "queue_project": 21}, "bob@x.org": {"user": 2, "queue_project": 22}},
    )
    items = embedded(store, project)
    push(store, project, items[:3])
    store.mark_selections(
        project, {items[1]: {"annotator": "ann@x.org"}, items[2]: {"annotator": "bob@x.org"}}
    )
    store.add_copies(project, [{"item": items[2], "annotator": "ann@x.org", "rank": 4, "queue_task": 900}])
    chosen = [Selected(items[3], 5, 1.0, "because", {})]
    store.add_round(project, 2, chosen, strategy="random", seed=0, model_version=None)  # not pushed yet
    page = client.get(f"/projects/{POOL}/queue").text
    entries = [re.findall(r'href="([^"]+)">Task ([^<]+)<', entry) for entry in page.split('class="rank"')[1:]]
    studio = f"{STUDIO_URL}/projects"
    assert entries == [
        [(f"{studio}/{QUEUE}/data?task={500 + items[0]}", f"{500 + items[0]}")],
        [(f"{studio}/21/data?task={500 + items[1]}", f"{500 + items[1]} of ann@x.org")],
        [
            (f"{studio}/22/data?task={500 + items[2]}", f"{500 + items[2]} of bob@x.org"),
            (f"{studio}/21/data?task=900", "900 of ann@x.org"),
        ],
        [(f"{studio}/{POOL}/data?task=103", "103")],
    ]
    assert f'href="{studio}/21/data"' in page
    assert f'href="{studio}/{QUEUE}/data"' not in client.get(f"/projects/{POOL}").text
    assert [row["tasks"] for row in cells(client, "queue")][2:] == [
        f"project 22 task {500 + items[2]}; project 21 task 900",
        f"project {POOL} task 103",
    ]
    rows = [(row["email"], row["quota"], row["placed"]) for row in cells(client, "annotators")]
    assert rows == [("ann@x.org", "4", "2"), ("bob@x.org", "3", "1")]


def test_an_image_delivered_in_place_links_to_the_pool(client, store, project):
    items = embedded(store, project)
    push(store, project, items[:1])
    store.mark_selections(project, {items[0]: {"queue_task": 100}})  # the pool's own
    assert f"/projects/{POOL}/data?task=100" in client.get(f"/projects/{POOL}/queue").text


def test_every_setting_stands_on_its_page_with_its_meaning_and_source(client, project):
    page = client.get(f"/projects/{POOL}/settings").text
    for name, field in ProjectSettings.model_fields.items():
        assert f'id="s-{name}"' in page
        assert field.description, f"{name} has no docstring"
    assert page.count("extra parameters</span>") == 1  # the budget
    assert page.count(">default</span>") == len(ProjectSettings.model_fields) - 1


# what they change


def test_a_changed_budget_is_in_force_audited_and_can_be_undone(client, store, project):
    answer = post(client, "/settings", fields="budget", budget="50", back="project")
    assert answer.status_code == 303
    assert answer.location == f"/projects/{POOL}"
    state = State(store, project)
    assert (state.settings.budget, state.resolved.sources["budget"]) == (50, "dashboard")
    assert state.project.layers["extra parameters"] == {"budget": 30}
    (row,) = store.audit(project)
    assert (row.who, row.name, row.old, row.old_source, row.new, row.new_source) == (
        "dashboard",
        "budget",
        30,
        "extra parameters",
        50,
        "dashboard",
    )
    assert "budget back to 30" in client.get(f"/projects/{POOL}").text
    post(client, "/undo")
    state = State(store, project)
    assert (state.settings.budget, state.resolved.sources["budget"]) == (30, "extra parameters")
    post(client, "/undo")
    assert State(store, project).settings.budget == 50
    assert len(store.audit(project)) == 3


def shown_by(page):
    """What a form says that its page showed."""
    return html.unescape(re.search(r"name=\"shown\" value='([^']*)'", page)[1])


def test_a_form_that_stood_open_takes_back_nothing_that_was_changed_meanwhile(client, store, project):
    for page in ("", "/settings"):
        shown = shown_by(client.get(f"/projects/{POOL}{page}").text)
        before = str(json.loads(shown)["budget"])
        post(client, "/settings", fields="budget", budget="7")  # in another tab
        size = "11" if page else "12"
        typed = {"fields": ["budget", "round_size"], "budget": before, "shown": shown}
        refused = post(client, "/settings", **typed, round_size="0")
        assert json.loads(shown_by(refused.text)) == json.loads(shown)
        post(client, "/settings", **typed, round_size=size)
        settings = State(store, project).settings
        assert (settings.budget, settings.round_size) == (7, int(size))
        assert "Budget was changed meanwhile, to 7, and stays so." in client.get(f"/projects/{POOL}").text
        post(client, "/settings", **typed | {"budget": before + "0"}, round_size=size)
        assert State(store, project).settings.budget == int(before + "0")
    assert post(client, "/settings", fields="budget", budget="9", shown="[[").status_code == 303


def test_two_who_change_one_list_at_once_both_have_their_way(client, store, project):
    post(client, "/settings", fields="ignore", ignore="site, age")
    shown = shown_by(client.get(f"/projects/{POOL}/settings").text)
    for account, ignored in (("ann@example.org", "site, age, device"), ("bob@example.org", "age")):
        typed = {"account": account, "quota": "30", "ignore": ignored}
        post(client, "/settings", fields=["annotators", "ignore"], shown=shown, **typed)
    settings = State(store, project).settings
    assert settings.annotators == {"ann@example.org": 30, "bob@example.org": 30}
    assert settings.ignore == ["age", "device"]
    shown = shown_by(client.get(f"/projects/{POOL}/settings").text)
    post(client, "/settings", fields="annotators", shown=shown, account="bob@example.org", quota="40")
    assert State(store, project).settings.annotators == {"bob@example.org": 40}


def test_undo_of_a_page_that_stood_open_takes_back_no_other_change(client, store, project):
    post(client, "/settings", fields="budget", budget="50")
    at = re.search(r'name="at" value="([^"]*)"', client.get(f"/projects/{POOL}").text)[1]
    post(client, "/settings", fields="budget", budget="60")  # somebody else
    post(client, "/undo", at=at)
    assert State(store, project).settings.budget == 60
    page = client.get(f"/projects/{POOL}").text
    assert "The budget was changed meanwhile: nothing is undone." in page
    post(client, "/undo", at=re.search(r'name="at" value="([^"]*)"', page)[1])
    assert State(store, project).settings.budget == 50


def test_a_list_of_hundreds_of_names_is_shortened_where_it_is_a_sentence_and_whole_in_its_control(
    client, store, project
):
    names = [f"field_{number}" for number in range(300)]
    post(client, "/settings", fields="ignore", ignore=", ".join(names))
    assert State(store, project).settings.ignore == names
    page = client.get(f"/projects/{POOL}/settings").text
    assert page.count("field_11 and 288 more") == 2, "in what was saved, and in the audit"
    boxes = client.get(f"/projects/{POOL}/settings").text
    assert page.count("field_200") == boxes.count("field_200"), "only in the control"


def test_a_class_with_a_comma_is_one_class(client, store, project):
    config = CONFIG.replace("<Choice ", '<Choice value="cannot tell, blurred"/><Choice ', 1)
    store.update_project(project, label_config=config)
    post(client, "/settings", fields="ignore_classes", ignore_classes="cannot tell, blurred")
    assert State(store, project).settings.ignore_classes == ["cannot tell, blurred"]


def test_undo_goes_back_to_an_earlier_value_of_the_dashboard(client, store, project):
    for budget in ("50", "60"):
        post(client, "/settings", fields="budget", budget=budget)
    post(client, "/undo")
    state = State(store, project)
    assert (state.settings.budget, state.resolved.sources["budget"]) == (50, "dashboard")


def test_undo_covers_the_budget_in_hours(client, store, project):
    post(client, "/settings", fields=["budget", "budget_hours"], budget="50", budget_hours="2.5")
    assert "Undo: budget in hours back to not set" in client.get(f"/projects/{POOL}").text
    post(client, "/undo")
    state = State(store, project)
    assert (state.settings.budget_hours, state.resolved.sources["budget_hours"]) == (None, "default")
    assert state.settings.budget == 50
    text = client.get(f"/projects/{POOL}").text
    assert "The budget in hours is not set again, from: the default." in text
    assert "Undo: budget in hours back to 2.5" in text
    post(client, "/undo")
    assert State(store, project).settings.budget_hours == 2.5


def test_both_budgets_are_shown_and_one_click_takes_that_of_label_studio(client, store, project):
    post(client, "/settings", fields=["budget", "seed"], budget="15", seed="4")
    store.update_project(
        project, layers={**store.project(project).layers, "extra parameters": {"budget": 80, "seed": 4}}
    )
    for page in ("", "/settings"):
        text = client.get(f"/projects/{POOL}{page}").text
        assert "15, set here; Label Studio says 80" in text
        assert ">Use 80<span" in text
        assert text.count("; Label Studio says") == 1, "both say the same seed"
    answer = post(client, "/settings/give-back", name="budget", back="project")
    assert answer.location == f"/projects/{POOL}"
    state = State(store, project)
    assert (state.settings.budget, state.resolved.below) == (80, {})
    text = client.get(f"/projects/{POOL}").text
    assert "The budget is" in text or "Budget is 80 again, from: Label Studio (Settings &gt; Model)." in text
    assert "; Label Studio says" not in text
    post(client, "/undo")
    assert State(store, project).settings.budget == 15


@pytest.mark.parametrize(
    "name", sorted(ProjectSettings.model_fields.keys() & {"round_size", "group", "ignore"})
)
@pytest.mark.parametrize("below", ["environment", "labeling config", "extra parameters"])
def test_every_setting_shows_what_the_next_source_says(client, store, project, monkeypatch, name, below):
    values = {"round_size": (5, 7), "group": ("a", "b"), "ignore": (["a"], ["b", "c"])}
    here, there = values[name]
    layers = {"dashboard": {name: here}}
    if below == "environment":
        text = ", ".join(there) if isinstance(there, list) else str(there)
        monkeypatch.setenv(f"CDSEL_{name.upper()}", text)
    else:
        layers[below] = {name: there}
    store.update_project(project, layers=layers)
    row = client.get(f"/projects/{POOL}/settings").text.partition(f'id="o-{name}"')[2][:300]
    says = {
        "environment": "the server&#39;s environment",
        "labeling config": "the labeling config in Label Studio",
    }
    words = ", ".join(there) if isinstance(there, list) else there
    assert f"set here; {says.get(below, 'Label Studio')} says {words}<" in row
    assert f">Use {words}<" in client.get(f"/projects/{POOL}/settings").text


def test_a_change_in_label_studio_can_be_undone_here(client, store, project):
    before = store.project(project).layers
    after = {**before, "extra parameters": {"budget": 80}}
    store.change_layer(
        project, lambda _: (after, audit_rows(before, after, moved(before, after), who="Label Studio"))
    )
    (row,) = store.audit(project)
    assert (row.who, row.name, row.old, row.new) == ("Label Studio", "budget", 30, 80)
    assert "budget back to 30" in client.get(f"/projects/{POOL}").text
    post(client, "/undo")
    assert State(store, project).settings.budget == 30
    assert "30, set here; Label Studio says 80" in client.get(f"/projects/{POOL}").text


def test_undo_gives_the_value_it_names_though_label_studio_says_something_else_by_now(client, store, project):
    post(client, "/settings", fields="budget", budget="15")
    layers = store.project(project).layers
    store.update_project(project, layers={**layers, "extra parameters": {"budget": 80}})
    assert "budget back to 30" in client.get(f"/projects/{POOL}").text
    post(client, "/undo")
    assert State(store, project).settings.budget == 30


def test_before_the_budget_is_lowered_the_page_says_what_becomes_of_the_open_images(client, store, project):
    says = "nothing more is pushed"
    assert says not in client.get(f"/projects/{POOL}").text
    items = embedded(store, project)
    push(store, project, items[:4])
    label(store, project, {items[0]: "cat"})
    for page in ("", "/settings"):
        text = client.get(f"/projects/{POOL}{page}").text
        assert "With a budget below 4, nothing more is pushed; the 3 open images stay in the queue" in text
    label(store, project, dict.fromkeys(items[:3], "cat"))
    assert "the open image stays in the queue" in client.get(f"/projects/{POOL}").text


def test_an_image_of_two_tasks_that_were_both_labelled_is_said_to_use_budget_once(client, store, project):
    says = "1 of these is the same picture as another, byte for byte, and uses no budget."
    store.sync_pool(project, [PoolTask(1 + i, {"image": "/1.jpg"}, "/1.jpg") for i in range(2)])
    items = [row.id for row in store.items(project)]
    label(store, project, {items[0]: "cat"})
    assert says not in client.get(f"/projects/{POOL}").text
    label(store, project, dict.fromkeys(items, "cat"))
    assert says in client.get(f"/projects/{POOL}").text


def test_undo_without_a_change_is_refused_in_words(client, project):
    answer = post(client, "/undo")
    assert answer.status_code == 400
    assert "not changed yet" in answer.text


def test_a_change_wakes_the_worker_without_asking_for_a_sync(client, store, project):
    before = store.newest_event()
    post(client, "/settings", fields="budget", budget="50")
    assert store.newest_event() > before
    assert store.open_events([POOL, QUEUE]) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("budget", "-1"), ("budget", "many"), ("budget", ""), ("strength", "1.5"), ("delivery", "x")],
)
def test_a_form_with_a_refused_value_saves_nothing_and_says_where(client, store, project, name, value):
    values = {"budget": "70", "strength": "", "delivery": "in_place", name: value}
    answer = post(client, "/settings", fields=["budget", "strength", "delivery"], **values)
    assert answer.status_code == 422
    assert f'id="e-{name}"' in answer.text
    assert answer.text.count('aria-invalid="true"') == 1
    assert f'value="{value}"' in answer.text or name == "delivery"  # what was typed is still there
    assert State(store, project).project.layers == {"extra parameters": {"budget": 30}}
    assert store.audit(project) == []


def test_a_form_sets_only_what_differs_and_gives_back(client, store, project):
    post(client, "/settings", fields=["budget", "seed", "group"], budget="30", seed="4", group="")
    assert State(store, project).project.layers["dashboard"] == {"seed": 4}
    post(client, "/settings/give-back", name="seed")
    state = State(store, project)
    assert (state.settings.seed, state.resolved.sources["seed"]) == (0, "default")
    assert post(client, "/settings/give-back", name="seed").status_code == 400


def test_a_strategy_is_chosen_among_those_that_are_installed_and_is_explained(
    client, store, project, monkeypatch
):
    monkeypatch.delitem(registry._STRATEGIES, "lightly", raising=False)

    def control():
        page = client.get(f"/projects/{POOL}/settings").text
        return page[page.index('<select id="s-strategy"') :].partition("</div>")[0]

    assert re.findall(r"<option[^>]*>(\w+)<", control()) == list(strategies())
    assert "lightly" not in control()
    assert f">{describe('confounder_aware')}</p>" in html.unescape(control())
    post(client, "/settings", fields="strategy", strategy="margin")
    assert State(store, project).settings.strategy == "margin"
    assert f">{describe('margin')}</p>" in html.unescape(control())
    answer = post(client, "/settings", fields="strategy", strategy="lightly")
    assert answer.status_code == 422
    assert "cdsel-backend[peers]" in answer.text


def test_numbers_are_typed_as_text_and_may_be_empty_where_none_means_something(client, store, project):
    page = client.get(f"/projects/{POOL}/settings").text

    def control(name):
        return re.search(rf'<input type="text"[^>]* id="s-{name}"[^>]*>', page)[0]

    assert 'inputmode="decimal"' in control("random_share")
    assert "required" in control("random_share")
    assert 'placeholder="none"' in control("near_duplicate")
    assert 'inputmode="numeric"' in control("group_cap")
    post(client, "/settings", fields=["group_cap", "near_duplicate"], group_cap="2", near_duplicate="0.95")
    settings = State(store, project).settings
    assert (settings.group_cap, settings.near_duplicate) == (2, 0.95)
    post(client, "/settings", fields=["group_cap", "near_duplicate"], group_cap="", near_duplicate="")
    settings = State(store, project).settings
    assert (settings.group_cap, settings.near_duplicate) == (None, None)
    assert post(client, "/settings", fields="random_share", random_share="").status_code == 422


def test_the_report_says_how_many_values_are_no_numbers(client, store, project):
    rows = [{"age": "see note" if i == 3 else 20 + i % 60} for i in range(60)]
    report = detect(np.random.default_rng(0).random((60, 8)), read_columns(rows), Labels(np.full(60, -1), ()))
    store.update_project(project, report=report.to_json())
    page = client.get(f"/projects/{POOL}/confounders").text
    assert "1 value is no number, such as &#39;see note&#39;, and counts as missing." in page


def test_images_of_a_pool_outside_label_studio_are_named_by_their_files(client, store, project):
    """They had the number of an item, and a link to the task of Label Studio that happens to have it."""
    source = store.add_source(project, "/data/scans", {})
    bad = SourceItem("a/IM2", "a/IM2", {}, problem="a/IM2: is damaged")
    store.take_items(source, [SourceItem("a/IM1", "a/IM1", {"site": "north"}), bad])
    good, bad = store.items(project)
    page = client.get(f"/projects/{POOL}/activity").text
    assert f'href="/projects/{POOL}/gallery/{bad.id}">a/IM2</a></th><td>is damaged</td>' in page
    assert "/data?task=" not in page
    page = client.get(f"/projects/{POOL}/gallery/{good.id}").text
    assert "<dt>File</dt><dd>a/IM1</dd>" in page
    assert "<h1>Image of IM1</h1>" in page
    assert "in Label Studio</a>" not in page.replace("Queue in Label Studio</a>", "")
    page = client.get(f"/projects/{POOL}/gallery").text
    assert 'alt="Image of IM2"' in page
    assert "</span>IM1</span>" in page
    assert [row["image"] for row in rows_of(client.get(f"/projects/{POOL}/gallery.csv"))] == [
        "a/IM1",
        "a/IM2",
    ]


def test_confounders_are_chosen_by_name_or_left_to_the_report(client, store, project):
    def ticked():
        boxes = re.findall(
            r"<input type=.checkbox. name=.confounders.[^>]*>",
            client.get(f"/projects/{POOL}/confounders").text,
        )
        return [re.search(r'value="(.*?)"', box)[1] for box in boxes if "checked" in box]

    findings = [
        Finding("site", Verdict.CONFOUNDER, "is it", 2),
        Finding("sex", Verdict.NEITHER, "is none", 2),
    ]
    store.update_project(project, report=Report(tuple(findings), ()).to_json())
    assert ticked() == ["site"]
    post(client, "/settings", fields="confounders", mode="own", confounders=["sex", "age"])
    assert State(store, project).settings.confounders == ["sex", "age"]
    assert ticked() == ["sex", "age"], "what was chosen, before the next report and beside it"
    post(client, "/settings", fields="confounders", mode="own")
    assert State(store, project).settings.confounders == []
    post(client, "/settings", fields="confounders", mode="auto", confounders=["site"])
    assert State(store, project).settings.confounders == "auto"


def test_pause_and_resume(client, store, project):
    assert "Pause</button>" in client.get(f"/projects/{POOL}").text
    post(client, "/settings", fields="paused", paused="true")
    assert State(store, project).settings.paused
    assert "Resume</button>" in client.get(f"/projects/{POOL}").text
    post(client, "/settings", fields="paused", paused="false")
    assert not State(store, project).settings.paused


@pytest.mark.parametrize("action", ["START_TRAINING", "SELECT_NOW"])
def test_a_request_is_an_open_event_for_the_worker_and_audited(client, store, project, action):
    assert post(client, "/requests", action=action).status_code == 303
    assert [event.action for event in store.open_events([POOL])] == [action]
    assert [row.name for row in store.audit(project)] == [action.lower()]
    assert post(client, "/requests", action="DROP").status_code == 400


def test_a_training_asked_for_before_label_studio_would_have_one_is_said_to_be_early(client, store, project):
    post(client, "/requests", action="START_TRAINING")
    assert "fewer than" not in client.get(f"/projects/{POOL}").text
    store.update_project(project, least_labels=5)
    post(client, "/requests", action="START_TRAINING")
    assert "0 labels are fewer than the 5 from which" in client.get(f"/projects/{POOL}").text


def test_two_admins_at_once_lose_no_change(client, store, project, tmp_path):
    app = create_app(ServerSettings(data_dir=tmp_path, label_studio_url=STUDIO_URL), store)

    def change(name, value):
        post(app.test_client(), "/settings", fields=name, **{name: value})

    names = {"budget": "77", "round_size": "7", "retrain_every": "8", "seed": "9"}
    threads = [threading.Thread(target=change, args=pair) for pair in names.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert State(store, project).project.layers["dashboard"] == {
        name: int(value) for name, value in names.items()
    }
    assert len(store.audit(project)) == len(names)


# what they refuse


@pytest.mark.parametrize("path", ["/settings", "/settings/give-back", "/undo", "/requests"])
@pytest.mark.parametrize("token", [None, "", "guess"])
def test_a_form_of_another_site_changes_nothing(client, store, project, path, token):
    token_of(client)  # the browser has a session
    values = {"fields": "budget", "budget": "999", "name": "budget", "action": "START_TRAINING"}
    answer = client.post(
        f"/projects/{POOL}{path}", data=values | ({} if token is None else {"csrf_token": token})
    )
    assert answer.status_code == 400
    assert State(store, project).settings.budget == 30
    assert store.audit(project) == []
    assert store.open_events([POOL]) == []


def test_the_token_of_another_browser_is_refused_and_survives_a_restart(client, store, project, tmp_path):
    token = token_of(client)
    app = create_app(ServerSettings(data_dir=tmp_path, label_studio_url=STUDIO_URL), store)
    stranger = app.test_client()
    token_of(stranger)
    values = {"csrf_token": token, "fields": "budget", "budget": "40"}
    assert stranger.post(f"/projects/{POOL}/settings", data=values).status_code == 400
    cookie = client.get_cookie("cdsel_session")
    same = app.test_client()  # the same browser, after the server was started again
    same.set_cookie("cdsel_session", cookie.value)
    assert same.post(f"/projects/{POOL}/settings", data=values).status_code == 303


def test_the_audit_names_the_user_of_basic_auth(store, project, tmp_path):
    server = ServerSettings(
        data_dir=tmp_path, label_studio_url=STUDIO_URL, basic_auth_user="ada", basic_auth_pass="secret"
    )
    client = create_app(server, store).test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = "Basic " + base64.b64encode(b"ada:secret").decode()
    post(client, "/settings", fields="budget", budget="50")
    assert [row.who for row in store.audit(project)] == ["ada"]


# tables and pictures


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_a_csv_file_also_when_empty(client, project, name):
    cells(client, name)


def test_the_tables_of_a_long_queue_and_of_many_unusable_images_are_read_in_parts(
    client, store, project, monkeypatch
):
    items = embedded(store, project, n=1200, note="x")
    push(store, project, items)
    asked, read = [], type(store).items_by_id
    monkeypatch.setattr(type(store), "items_by_id", lambda own, ids: asked.append(len(ids)) or read(own, ids))
    rows = cells(client, "queue")
    assert [int(row["rank"]) for row in rows] == list(range(1, 1201))
    assert {row["data.note"] for row in rows} == {"x"}
    assert max(asked) <= 500
    monkeypatch.setattr("cdsel_backend.server.pages.tables.PART", 100)
    store.note_unusable([(item, "404: no such file", 0.0) for item in items[:250]])
    assert [int(row["task"]) for row in cells(client, "unusable")] == list(range(100, 350))


def test_text_from_a_task_is_no_formula_in_a_spreadsheet(client, store, project):
    items = embedded(store, project, n=4, note='=HYPERLINK("http://x")')
    push(store, project, items)
    rows = cells(client, "queue")
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert {row["data.note"] for row in rows} == {'\'=HYPERLINK("http://x")'}
    assert client.get(f"/projects/{POOL}/tables/secrets.csv").status_code == 404


def test_no_cell_and_no_name_of_a_column_is_a_formula_wherever_a_spreadsheet_cuts_the_line():
    """Where decimals have a comma, a file that is opened by a double click is cut at semicolons."""
    cells = {
        "=1+1": "a;=1+1;-2",
        "b": " =1+1",
        "c": "\n=1",
        "d": "＝1",
        "e": -1.5,
        "f": ["x;+1"],
        "g": "a-b; c=d",
    }
    header, row = csv.reader(io.StringIO(csv_text([cells]).lstrip("\ufeff")))
    assert header == ["'=1+1", "b", "c", "d", "e", "f", "g"]
    assert row == ["a;'=1+1;'-2", "' =1+1", "'\n=1", "'＝1", "-1.5", '["x;\'+1"]', "a-b; c=d"]


def read_points(data: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    (length,) = struct.unpack("<I", data[:4])
    head = json.loads(data[4 : 4 + length])
    arrays, at = {}, 4 + length
    for named in head["arrays"]:
        name, kind = named.split(":")
        arrays[name] = np.frombuffer(data, dtype=np.dtype(kind).newbyteorder("<"), count=head["n"], offset=at)
        at += arrays[name].nbytes
    assert at == len(data)
    return head, arrays


def test_the_map_holds_every_embedded_image_with_what_is_known_of_it(client, store, project):
    items = embedded(store, project, n=40)
    push(store, project, items[:10])
    label(store, project, {items[0]: "dog", items[1]: "cat", items[2]: None})
    head, arrays = read_points(client.get(f"/projects/{POOL}/map.bin").data)
    assert arrays["id"].tolist() == items
    assert arrays["task"].tolist() == list(range(100, 140))
    assert [head["states"][code] for code in arrays["state"][:4]] == [
        "labelled",
        "labelled",
        "skipped",
        "with the annotators",
    ]
    variables = {one["name"]: one for one in head["variables"]}
    named = {name: [one["levels"][code] for code in arrays[one["key"]]] for name, one in variables.items()}
    assert named["site"] == [("a", "b")[i % 2] for i in range(40)]
    assert named["label"][:3] == ["dog", "cat", "not labelled"]
    assert named["round"] == ["round 1"] * 10 + ["not selected"] * 30
    assert len({(x, y) for x, y in zip(arrays["x"].tolist(), arrays["y"].tolist(), strict=True)}) == 40


def test_of_a_large_pool_the_map_draws_a_sample_and_everything_that_was_chosen(
    client, store, project, monkeypatch
):
    items = embedded(store, project, n=60)
    push(store, project, items[:10])
    label(store, project, {items[0]: "dog", items[30]: "cat"})
    monkeypatch.setattr("cdsel_backend.server.pages.pool_map.MOST", 25)
    head, arrays = read_points(client.get(f"/projects/{POOL}/map.bin").data)
    assert (head["n"], head["total"]) == (25, 60)
    drawn = arrays["id"].tolist()
    assert drawn == sorted(set(drawn))
    assert {*items[:10], items[30]} <= set(drawn)
    counts = {one["name"]: one["counts"] for one in head["variables"]}
    assert counts["site"] == [30, 30], "the legend counts the whole pool"
    assert counts["round"] == [10, 50]
    assert len({row % 2 for row in drawn}) == 2


def test_the_map_follows_the_pool(client, store, project):
    embedded(store, project, n=5)
    assert read_points(client.get(f"/projects/{POOL}/map.bin").data)[0]["n"] == 5
    embedded(store, project, n=9)
    # A table serves a few times as long as it took to make.
    eventually(lambda: read_points(client.get(f"/projects/{POOL}/map.bin").data)[0]["n"] == 9, "it stays old")


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_a_tiny_pool_has_a_map(client, store, project, n):
    if n:
        embedded(store, project, n=n)
    assert read_points(client.get(f"/projects/{POOL}/map.bin").data)[0]["n"] == n


# thumbnails


@pytest.fixture
def thumbnails(tmp_path):
    server = ServerSettings(data_dir=tmp_path, label_studio_api_key="token", image_hosts="127.0.0.1")
    return Thumbnails(server)


def item_of(store, project, address):
    store.sync_pool(project, [PoolTask(1, {"image": address}, address)])
    return store.items(project)[0]


def test_a_thumbnail_is_small_and_outlives_its_source(store, project, thumbnails, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (1600, 800), "teal").save(folder / "a.png")
    with images_served(folder) as address:
        item = item_of(store, project, f"{address}/a.png")
        data = thumbnails.thumbnail(State(store, project), item)
    assert Image.open(io.BytesIO(data)).size == (SIDE, SIDE // 2)
    assert thumbnails.thumbnail(State(store, project), item) == data  # the source is gone


def test_a_browser_shows_no_picture_again_before_it_has_asked(store, project, tmp_path):
    """Whoever sits at that screen next may have no login."""
    server = ServerSettings(data_dir=tmp_path, label_studio_url=STUDIO_URL, label_studio_api_key="0" * 40)
    client = create_app(server, store).test_client()
    (tmp_path / "thumbnails").touch()  # nothing can be kept there, as on a full disk
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(data, "PNG")
    item = item_of(store, project, f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}")
    store.start_backbone(project, "b")
    store.add_vectors("b", [(item.id, "a" * 64, np.ones(8, np.float32))])
    for kind in ("thumbnails", "images"):
        path = f"/projects/{POOL}/{kind}/{item.id}"
        first = client.get(path)
        assert (first.status_code, first.headers["Cache-Control"]) == (200, "private, no-cache")
        again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
        assert client.get(path, headers={"If-None-Match": '"another"'}).data == first.data


def test_an_image_that_cannot_be_read_says_so_in_its_place(client, store, project, thumbnails):
    item = item_of(store, project, "data:image/png;base64,AAAA")
    with pytest.raises(UnreadableImage):
        thumbnails.thumbnail(State(store, project), item)
    answer = client.get(f"/projects/{POOL}/thumbnails/{item.id}")
    assert answer.mimetype == "image/svg+xml"
    assert "cannot be read" in answer.text
    assert answer.headers["Cache-Control"] == "no-store"  # it may be mended


def test_another_projects_image_is_not_shown(client, store, project):
    other = store.connect_project(STUDIO_URL, 77, label_config=CONFIG)
    item = item_of(store, other, "data:image/png;base64,AAAA")
    assert client.get(f"/projects/{POOL}/thumbnails/{item.id}").status_code == 404
    assert client.get(f"/projects/{POOL}/thumbnails/123456").status_code == 404


def test_kept_thumbnails_stay_below_the_bound(store, project, tmp_path, monkeypatch):
    monkeypatch.setattr("cdsel_backend.server.pages.thumbnails.TRIM_EVERY", 2)
    server = ServerSettings(data_dir=tmp_path, label_studio_api_key="token")
    kept = Thumbnails(server, kept_bytes=4000)
    for number in range(30):
        picture = io.BytesIO()
        Image.effect_noise((64, 64), 60 + number).convert("RGB").save(picture, "PNG")
        address = "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
        kept.thumbnail(State(store, project), item_of(store, project, address))
    sizes = [path.stat().st_size for path in kept.folder.glob("*/*")]
    assert sum(sizes) < 4000 + 2 * max(sizes)


def test_images_that_hang_keep_no_thread_of_the_web_server(store, project, tmp_path, monkeypatch):
    monkeypatch.setattr("cdsel_backend.server.pages.thumbnails.PATIENCE", 0.05)
    monkeypatch.setattr("cdsel_backend.server.pages.thumbnails.STANDSTILL", 0.0)
    released, asked = threading.Event(), []
    thumbnails = Thumbnails(ServerSettings(data_dir=tmp_path))

    def hang(state, item, path):
        asked.append(item.id)
        released.wait(60)
        return b"a picture"

    monkeypatch.setattr(thumbnails, "_make", hang)
    item, state = item_of(store, project, "data:image/png;base64,AAAA"), State(store, project)
    try:
        for _ in range(READERS + 3):
            with pytest.raises(ServiceUnavailable):
                thumbnails.thumbnail(state, item)
        assert len(asked) == READERS, "the others were not even begun"
    finally:
        released.set()
    deadline = time.monotonic() + 60
    while thumbnails._under_way:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert thumbnails.thumbnail(state, item) == b"a picture"


# a project in the middle of its life


@pytest.fixture(scope="module")
def working(filled):
    return create_app(filled.server, filled.store).test_client()


def test_the_report_shows_every_variable_with_its_verdict(filled, working):
    page = working.get(f"/projects/{POOL}/confounders").text
    rows = cells(working, "confounders")
    assert {row["variable"] for row in rows} == {"site", "sex", "age", "patient_id"}
    assert next(row["verdict"] for row in rows if row["variable"] == "site") == "confounder"
    for row in rows:
        assert f">{row['variable']}</th>" in page
    assert 'role="img"' in page
    assert "site" in re.search(r'class="figure warm">([^<]+)<', working.get(f"/projects/{POOL}").text)[1]


def test_hundreds_of_variables_classes_and_annotators_stay_readable(client, store, project):
    """The first of each are shown and the others folded: 400 verdicts were 20,000 pixels high, 67,000 on a phone."""
    given = np.arange(18.0).reshape(9, 2)
    names, folded, twice = _commonest_classes("abcdefghi", given, 2 * given, 8)
    assert names == [*"efghi", "4 other classes"]
    assert folded.tolist() == [*given[4:].tolist(), [12.0, 16.0]]
    assert (twice == 2 * folded).all()
    assert _commonest_classes("abcdefgh", given[:8], given[:8], 8)[0] == [*"abcdefgh"]
    findings = [
        Finding(f"variable {n}", Verdict.CONFOUNDER if n > 47 else Verdict.NEITHER, "is it", 2)
        for n in range(50)
    ]
    store.update_project(
        project,
        report=Report(tuple(findings), ()).to_json(),
        layers={"extra parameters": {"annotators": {f"a{n}@x.org": 10 for n in range(25)}}},
    )
    push(store, project, embedded(store, project)[:3])
    page = client.get(f"/projects/{POOL}/confounders").text
    assert "30 more variables" in page
    first = page[page.index('id="h-verdicts"') : page.index("30 more variables")]
    assert {"variable 48", "variable 49", "variable 0"} <= set(
        re.findall(r"variable \d+", first)
    )  # those that act
    assert "5 more annotators" in client.get(f"/projects/{POOL}/queue").text


def test_the_mosaic_counts_labels_and_estimates_the_rest_level_by_level(filled, working):
    page = working.get(f"/projects/{POOL}/confounders?variable=site").text
    state = filled.state()
    site = {row.id: row.data["site"] for row in state.items}
    body = page[page.index("The same as a table") :]
    rows = {
        row[0]: row[1:]
        for row in (
            [cell.strip() for cell in re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", line)]
            for line in re.findall(r"<tr>(.*?)</tr>", body, re.S)
        )
        if row and row[0] in ("riverside", "hillside")
    }
    assert rows.keys() == {"riverside", "hillside"}
    pool = Counter(site[item] for item in site if item in {row.id for row in state.items if not row.problem})
    # What was drawn at twice the odds speaks for half as many images of the pool.
    speaks_for = {row.item: row.represents or 1.0 for row in state.selections}
    assert len(set(speaks_for.values())) > 1
    for level, values in rows.items():
        labelled = [(name, item) for item, name in state.labels.items() if site[item] == level]
        assert int(values[6]) == len(labelled)
        names = [name for name, _ in labelled]
        assert values[7] == f"{100 * names.count('benign') / len(names):.0f} %"
        weights = np.array([speaks_for.get(item, 1.0) for _, item in labelled])
        share = weights[np.array(names) == "benign"].sum() / weights.sum()
        assert (int(values[0]), values[1]) == (pool[level], f"{100 * share:.0f} %")  # estimated
    assert working.get(f"/projects/{POOL}/confounders?variable=nothing").status_code == 200


@pytest.mark.parametrize("page", PAGES)
def test_every_table_can_be_had_as_csv_and_every_picture_saved(working, page):
    sections = working.get(f"/projects/{POOL}{page}").text.split("<section")
    for section in sections:
        if "<table" in section:
            assert re.search(r'/tables/\w+\.csv"', section), section[:200]
        figures, saved = section.count('<svg viewBox="0 0 360'), section.count("data-save=")
        assert figures == saved, section[:200]


def test_the_levels_and_the_shares_of_the_pool_are_in_the_files_as_on_the_page(filled, working):
    state = filled.state()
    site = {row.id: row.data["site"] for row in state.items}
    rows = {
        row["level"]: row
        for row in cells(working, "levels")
        if (row["variable"], row["where"]) == ("site", "Labelled")
    }
    for level, row in rows.items():
        labels = [label for item, label in state.labels.items() if site[item] == level]
        assert float(row["images"]) == len(labels)
        assert float(row["label.benign"]) == labels.count("benign")
    share = state.trainings[-1].metrics["insight"]["random_share"]
    rows = {row["share_of_images"]: row for row in cells(working, "pool")}
    assert float(rows["malignant"]["in_the_pool"]) == share["prevalence"]["malignant"]["value"]
    assert float(rows["model is wrong"]["low"]) == share["error"]["interval"][0]


def test_models_show_what_each_lot_of_labels_bought(filled, working):
    page = working.get(f"/projects/{POOL}/models").text
    champion = filled.state().project.champion
    assert page.count(">champion</span>") == 1
    assert champion in page
    models = cells(working, "models")
    assert [row["version"] for row in models if row["champion"] == "True"] == [champion]
    measured = [row for row in models if row["balanced_accuracy"]]
    assert measured
    for row in measured:
        assert float(row["balanced_accuracy_low"]) <= float(row["balanced_accuracy"])
        assert float(row["balanced_accuracy"]) <= float(row["balanced_accuracy_high"])
    groups = cells(working, "groups")
    held_out = sum(int(row["n"]) for row in groups)
    assert f"{held_out} held-out labels of today" in page


def test_no_page_makes_a_record_of_every_annotation_and_every_selected_image(filled, working, monkeypatch):
    def refuse(*_):
        raise AssertionError("a page reads all rows of a table")

    for name in ("items", "labels", "selections", "copies"):
        monkeypatch.setattr(type(filled.store), name, refuse)
    item = next(iter(filled.truth))
    for page in (*PAGES, "/status.json", "/map.bin", "/gallery?order=rank", f"/gallery/{item}"):
        assert working.get(f"/projects/{POOL}{page}").status_code == 200, page


def test_labels_as_arrays_are_those_of_the_records(filled):
    state = filled.state()
    decided = {item: majority(rows) for item, rows in state.deciding.items() if rows[0].label is not None}
    assert list(state.labels.items()) == list(decided.items())
    assert state.several_readings == {item: rows for item, rows in state.readings.items() if len(rows) > 1}
    assert state.pushed == {row.item for row in state.tasks}
    item, represents = state.store.represented(filled.project)
    speaking = {row.item: row.represents for row in state.selections if row.represents}
    assert dict(zip(item.tolist(), represents.tolist(), strict=True)) == pytest.approx(speaking)


def test_a_kept_result_is_that_of_its_inputs():
    values, asked = np.arange(3), []
    for other in (values, values.copy(), values + 1):
        kept(lambda: asked.append(1), "a test", other, ["Ann"])
    assert len(asked) == 2


def test_models_answer_whether_another_round_is_worth_it(filled, working):
    page = working.get(f"/projects/{POOL}/models").text
    insight = filled.state().trainings[-1].metrics["insight"]
    assert insight["curve"]["sentence"] in page
    assert "Another round of 100 would likely bring" in insight["curve"]["sentence"]
    assert 'data-save="outlook"' in page
    verdict = VERDICTS[insight["curve"]["worth"]]
    assert verdict != VERDICTS["cannot tell"]
    assert f">{verdict}</p>" in page
    overview = working.get(f"/projects/{POOL}").text
    assert re.search(rf'Is another round worth it\? <a [^>]*#worth">{verdict}</a>', overview)
    status = working.get(f"/projects/{POOL}/status.json").json
    assert "insight" not in json.dumps(status["rounds"])
    assert status["explained_training"] == filled.state().trainings[-1].number


def test_models_name_levels_of_which_the_labels_show_one_class(filled, working, monkeypatch):
    insight = filled.state().trainings[-1].metrics["insight"]
    assert insight["one_class"] == [], "both sites have labels of both classes"
    assert "Levels with one class so far" not in working.get(f"/projects/{POOL}/models").text
    sentence = "site a: 60 of 60 labels are benign."
    monkeypatch.setattr(
        "cdsel_backend.server.pages.models.latest_insight", lambda state: {**insight, "one_class": [sentence]}
    )
    page = working.get(f"/projects/{POOL}/models").text
    assert "Levels with one class so far" in page
    assert f"<li>{sentence}</li>" in page


def test_the_random_share_tells_what_the_pool_holds(filled, working):
    state = filled.state()
    drawn = {row.item for row in state.selections if row.reason["drawn_at_random"]}
    share = state.trainings[-1].metrics["insight"]["random_share"]
    assert share["n"] == len(drawn & state.trained_labels.keys())
    malignant = np.mean([label == "malignant" for label in filled.truth.values()])
    low, high = share["prevalence"]["malignant"]["interval"]
    assert low <= malignant <= high
    page = working.get(f"/projects/{POOL}/models").text
    assert f"From {share['n']} labels drawn by chance" in page
    assert f"{100 * low:.0f}–{100 * high:.0f} %" in page


def test_suspected_labels_are_listed_with_their_task_until_somebody_changes_them(filled, working):
    listed = filled.state().trainings[-1].metrics["insight"]["suspects"]
    rank = {row.item: row.rank for row in filled.state().selections}
    rows = cells(working, "suspects")
    assert [int(row["item"]) for row in rows] == [one["item"] for one in listed]
    page = working.get(f"/projects/{POOL}/models").text
    first = listed[0]["item"]
    assert f"Labels that may be wrong: {len(listed)}" in page
    assert f"/projects/{QUEUE}/data?task={5000 + rank[first]}" in page
    state = filled.state()
    state.labels[first] = listed[0]["other"]  # as somebody who reviewed it would have it
    assert [one.item for one in suspects(state)] == [one["item"] for one in listed[1:]]


def test_images_that_annotators_disagree_on_stand_beside_the_kappa(filled, working):
    rows = cells(working, "disputed")
    assert len(rows) == 5
    for row in rows:
        assert row["label"] == filled.truth[int(row["item"])]
        assert "user 4: " in row["readings"]
        assert row["readings"].count(row["label"]) == 1
    page = working.get(f"/projects/{POOL}/models").text
    assert "Images that annotators disagree on: 5" in page
    assert "25 of 30 images that two people labelled have the same label" in page


def test_thumbnails_of_the_queue_are_pictures(filled, working):
    page = working.get(f"/projects/{POOL}/queue").text
    addresses = re.findall(r'data-src="([^"]+)"', page)
    assert len(addresses) == PAGE
    answer = working.get(addresses[0])
    assert answer.mimetype == "image/jpeg"
    assert max(Image.open(io.BytesIO(answer.data)).size) <= SIDE


def test_images_left_out_are_named_with_their_reason(filled, working):
    page = working.get(f"/projects/{POOL}/activity").text
    assert "the JPEG file is truncated" in page
    assert [row["reason"] for row in cells(working, "unusable")] == [
        "the JPEG file is truncated",
        "404: no such file",
    ]
    status = working.get(f"/projects/{POOL}/status.json").json
    assert status["unusable_count"] == 2
    assert status["embedded"] == status["items"] - 2


def test_a_pool_of_which_most_cannot_be_used_is_named_on_the_overview(client, store, project):
    items = embedded(store, project, n=6)
    store.note_unusable([(item, "answered 404", 0.0) for item in items[:3]])
    assert client.get(f"/projects/{POOL}/status.json").json["problems"] == []
    store.note_unusable([(items[3], "the task has no text in its image field '$x'", 0.0)])
    words = "only 2 of the 6 images of the pool can be used, and 4 cannot; most often: answered 404"
    assert words in client.get(f"/projects/{POOL}").text
    store.note_unusable([(item, "answered 404", 0.0) for item in items])
    assert client.get(f"/projects/{POOL}/status.json").json["problems"][0].startswith("none of the 6 images")


@pytest.mark.parametrize(("several", "lines"), [(5, 5), (6, 1)])
def test_the_same_problem_of_many_annotations_is_one_line(client, store, project, several, lines):
    items = embedded(store, project, n=several)
    push(store, project, items)
    rows = [
        {"annotation": n, "item": item, "label": None, "skipped": False, "annotator": "7", "updated_at": "2026-01-01",
         "task": 500 + item, "problem": f"task {500 + item}, annotation {n}: label 'cancer: old' is unknown"}
        for n, item in enumerate(items)
    ]  # fmt: skip
    store.replace_labels(project, QUEUE, rows)
    problems = client.get(f"/projects/{POOL}/status.json").json["problems"]
    assert len(problems) == lines
    assert all(words.endswith("label 'cancer: old' is unknown") for words in problems)
    if lines == 1:
        tasks = ", ".join(str(500 + item) for item in items[:5])
        assert problems[0].startswith(f"6 annotations (tasks {tasks}, …): ")


# which model serves


def trained(store, project, number, *, became=Became.PROMOTED):
    version = f"cdsel-{POOL}-v{number}"
    store.add_training(
        project,
        champion=version if became is Became.PROMOTED else None,
        instead_of=store.project(project).champion,
        version=version,
        round=number,
        labels={},
        outcome=Outcome(became),
        metrics={},
    )
    return version


def test_models_say_why_it_is_not_known_what_the_model_says_of_the_labels(client, store, project):
    def shown():
        return client.get(f"/projects/{POOL}/models").text

    trained(store, project, 1)
    assert shown().count("Being computed for the newest model.") == 3
    store.note_insight(project, State(store, project).trainings[-1].number, None)
    assert shown().count("Not known: the labels do not suffice") == 3


def test_a_version_is_promoted_and_rolled_back_from_the_page_with_a_row_in_the_audit(client, store, project):
    first, second = trained(store, project, 1), trained(store, project, 2)
    third = trained(store, project, 3, became=Became.KEPT_OUT)
    assert f"Roll back to {first}" in client.get(f"/projects/{POOL}/models").text
    assert post(client, "/champion", version=third).status_code == 303
    assert State(store, project).project.champion == third
    assert post(client, "/champion", before=first).status_code == 303  # of a page that stood open
    assert State(store, project).project.champion == third
    page = client.get(f"/projects/{POOL}/models").text
    assert "Another version came to serve meanwhile: nothing is changed." in page
    assert f"Roll back to {second}" in page
    assert f'name="before" value="{second}"' in page
    assert post(client, "/champion").status_code == 303
    assert post(client, "/champion").status_code == 303
    assert State(store, project).project.champion == first
    assert "Roll back" not in client.get(f"/projects/{POOL}/models").text
    assert [(row.name, row.old, row.new) for row in store.audit(project)] == [
        ("champion", second, first),
        ("champion", third, second),
        ("champion", second, third),
    ]
    assert first in client.get(f"/projects/{POOL}/activity").text


def test_a_version_that_is_not_there_is_refused_in_words(client, store, project):
    trained(store, project, 1)
    answer = post(client, "/champion", version="cdsel-9-v9")
    assert answer.status_code == 400
    assert "there is no version 'cdsel-9-v9'; there are cdsel-12-v1" in answer.text
    assert post(client, "/champion").status_code == 400
    assert client.post(f"/projects/{POOL}/champion", data={"version": "x"}).status_code == 400
    assert store.audit(project) == []


def test_the_web_server_loads_nothing_that_computes():
    """It would take seconds to start, and hundreds of megabytes that the worker needs."""
    code = "import sys; import cdsel_backend.server.app; print({'torch', 'sklearn', 'scipy.stats'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_overview_says_which_question_is_learned(tmp_path, store):
    quality = (
        '<Choices name="quality" toName="image"><Choice value="good"/><Choice value="poor"/></Choices>'
        '<TextArea name="note" toName="image"/>'
    )
    config = CONFIG.replace("<View>", f"<View>{quality}", 1) if "<View>" in CONFIG else CONFIG
    project = store.connect_project(STUDIO_URL, 7, label_config=config)
    app = create_app(ServerSettings(data_dir=tmp_path), store)
    page = app.test_client().get("/projects/7").text
    assert "The model learns the answers to <strong>quality</strong>: good, poor." in page
    assert "cdsel_learn=&#34;true&#34;" in page
    name = parse_label_space(CONFIG).control
    store.update_project(project, layers={"dashboard": {"learn": name}})
    assert (
        f"The model learns the answers to <strong>{name}</strong>"
        in app.test_client().get("/projects/7").text
    )
    offered = app.test_client().get("/projects/7/settings").text
    assert f"<option>quality</option><option selected>{name}</option></select>" in offered
    store.update_project(project, layers={"dashboard": {"learn": "note"}})
    assert settings_refusal(State(store, project)) == (
        f"learn: no model can be made of the answers to note; set it to quality or {name}; until then quality is "
        "learned"
    )


def test_activity_says_when_how_long_and_what_came_of_each_webhook_and_push(client, store, project):
    number = store.add_event(POOL, "ANNOTATION_CREATED", {"tasks": [7]})
    page = client.get(f"/projects/{POOL}/activity").text
    assert "1 webhook or request waits for the worker" in page
    assert "No worker has been heard from yet" in page
    same_look = store.add_event(POOL, "ANNOTATION_CREATED", {"tasks": [8]})
    store.handle_events([number, same_look], {"answers": 1, "withdrawn": 0, "images": 0})
    verdict = {"variable": "image: contrast", "before": "suspected", "after": "neither"}
    store.add_event(
        POOL, "VERDICT_CHANGED", {**verdict, "sentence": "image: contrast is not encoded"}, handled=True
    )
    store.add_event(POOL, "TASKS_PUSHED", {"tasks": [8, 9]}, handled=True, seconds=3.0)
    store.beat("here:1", moved=True)
    page = client.get(f"/projects/{POOL}/activity").text
    assert "Label Studio: an annotation was submitted" in page
    assert "1 annotation new or changed" in page
    assert "image: contrast is not encoded." in page
    push_line = page[page.index("Images were pushed into the queue") :]
    assert "3.0 s" in push_line[: push_line.index("</tr>")]
    assert "2 images" in push_line[: push_line.index("</tr>")]
    assert "Alive: heard from" in page
    assert "for the worker" not in page


def test_settings_offer_what_is_known_and_keep_what_is_chosen(client, store, project):
    store.set_fact(ACCOUNTS_FACT, {"1": "ann@x.org", "2": "bob@x.org", "3": None})
    page = client.get(f"/projects/{POOL}/settings").text
    assert 'name="account" form="all" value="bob@x.org"' in page
    assert "Advanced settings" in page
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)[1]
    classes = State(store, project).project.label_config
    assert "cat" in classes
    answer = client.post(
        f"/projects/{POOL}/settings",
        data={
            "csrf_token": token,
            "fields": ["annotators", "ignore", "budget_hours"],
            "account": ["ann@x.org", "bob@x.org", ""],
            "quota": ["40", "", ""],
            "ignore": ["age", "sex"],
            "budget_hours": "1.5",
        },
    )
    assert answer.status_code == 303
    settings = State(store, project).settings
    assert settings.annotators == {"ann@x.org": 40}
    assert (settings.ignore, settings.budget_hours) == (["age", "sex"], 1.5)
    for who, quota, reason in (
        ("carl@x.org", "", "carl@x.org: write a whole number"),
        ("", "5", "by its e-mail"),
    ):
        typed = {
            "csrf_token": token,
            "fields": "annotators",
            "account": ["ann@x.org", who],
            "quota": ["40", quota],
        }
        refused = client.post(f"/projects/{POOL}/settings", data=typed)
        assert refused.status_code == 422
        assert reason in refused.text
        assert State(store, project).settings.annotators == {"ann@x.org": 40}
    wrong = {"csrf_token": token, "fields": "annotators", "account": ["ann@x.org"], "quota": ["-3"]}
    refused = client.post(f"/projects/{POOL}/settings", data=wrong)
    assert refused.status_code == 422
    assert 'value="ann@x.org: -3"' in refused.text, "what was typed stays"
    page = client.get(f"/projects/{POOL}").text
    assert "1.5 hours of annotators" in page
    assert 'name="budget_hours"' in page


def test_a_page_far_away_is_reached_at_once_and_keeps_the_filter(store, client, project):
    embedded(store, project, 5 * PAGE)
    items = [row.id for row in store.items(project)]
    chosen = [Selected(item, item, 1.0, "Drawn at random from all images.", {}) for item in items]
    store.add_round(project, 1, chosen, strategy="random", seed=0, model_version=None)
    page = client.get(f"/projects/{POOL}/queue?state=waiting&page=4").text
    form = re.search(r'<nav class="pager".*?</nav>', page, re.S)[0]
    assert '<input type="hidden" name="state" value="waiting">' in form
    assert re.search(r'name="page" min="1" max="5" value="4"', form)
    assert "page=3" in form
    assert "page=5" in form
    assert 'name="page"' not in client.get(f"/projects/{POOL}/queue?round=2").text  # one page


def test_an_empty_pool_says_what_is_the_next_step(client, project, store):
    there = f'href="{STUDIO_URL}/projects/{POOL}/data"'
    for path in ("", "/confounders", "/map", "/gallery", "/queue", "/models"):
        assert there in client.get(f"/projects/{POOL}{path}").text, path
    embedded(store, project, 1)
    page = html.unescape(client.get(f"/projects/{POOL}/confounders").text)
    assert "The report is made from two embedded images on. 1 of 1 image is embedded." in page
