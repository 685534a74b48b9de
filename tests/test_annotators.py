"""Several annotators: a queue each, quotas, second readings, and what becomes of them when they change midway."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest
from conftest import LABEL_CONFIG
from desk import account
from world import POOL, World

from cdsel_backend.labelstudio import queue
from cdsel_backend.labelstudio.client import LabelStudio, NotFound
from cdsel_backend.labelstudio.labels import parse_label_space
from cdsel_backend.labelstudio.placing import plan, stranded
from cdsel_backend.labelstudio.queue_projects import status_line, with_line
from cdsel_backend.reconcile.books import sync_queues
from cdsel_backend.reconcile.confounders import detect_confounders
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.loop import reconcile
from cdsel_backend.reconcile.queues import annotator_problems, describe, find_annotators, rename_queues
from cdsel_backend.reconcile.rounds import push, select_round
from cdsel_backend.server.people import agreement_of, annotators
from cdsel_backend.settings import ServerSettings, accept
from cdsel_backend.store import PoolTask, State
from cdsel_backend.training.agreement import FEWEST, agreement

ANN, BOB, CID, DEE = (f"{name}@x.org" for name in ("ann", "bob", "cid", "dee"))
USERS = {ANN: 11, BOB: 12, CID: 13, DEE: 14}
SPACE = parse_label_space(LABEL_CONFIG)


class Crew(World):
    """A world whose plans are carried out as Label Studio would: each queue is a list that is only added to."""

    def __init__(self, folder, **settings):
        super().__init__(folder, **settings)
        self.queues = {name: [] for name in ("", *USERS)}  # (item, rank) in the order of import
        self.store.set_annotators(
            self.project, {name: {"user": user, "queue_project": 100 + user} for name, user in USERS.items()}
        )
        self.step(detect_confounders)

    def set(self, **settings):
        layers = self.state().project.layers
        extra = {**layers["extra parameters"], **settings}
        self.store.update_project(self.project, layers={**layers, "extra parameters": extra})

    def fill(self, *, limit=50, queues=99):
        """Carry out one plan, of some queues only if killed; returns what was placed."""
        state = self.state()
        planned = plan(state, limit)
        done = []
        for name in list(dict.fromkeys(one.annotator for one in planned))[:queues]:
            own = [one for one in planned if one.annotator == name]
            self.queues[name] += [(one.item, one.rank) for one in own]
            task = 1000 * len(done) + 10_000 * len(state.selections)
            queue._record(state, [(one, task + n) for n, one in enumerate(own)])
            done += own
        return done

    def fill_all(self):
        done = []
        while step := self.fill():
            done += step
        return done

    def lose(self, name):
        """Somebody deletes a queue in Label Studio, and the next one is made at once."""
        queues = self.state().queues
        left = {POOL, *queues.values()} - {queues[name]}
        self.store.forget_queue(self.project, name, sources=left)
        self.store.set_annotators(self.project, {name: {"queue_project": queues[name] + 100}})
        self.queues[name] = [one for one in self.queues[name] if one[0] in self.state().placed[name]]

    def check(self, used, placed):
        """What must hold after every step, given what was used and placed before it."""
        state = self.state()
        assert len(state.used) <= max(used, state.settings.budget)
        for name, tasks in self.queues.items():
            ranks = [rank for _, rank in tasks]
            assert ranks == sorted(set(ranks)), f"{name or 'everyone'}: not in rank order"
            again = Counter(item for item, _ in tasks)
            assert max(again.values(), default=1) <= (1 if name else 2)
            quota = state.settings.annotators.get(name)
            if name and len(tasks) > placed[name]:
                assert quota is not None, f"{name} got images without being an annotator"
                assert len(tasks) <= max(quota, placed[name])
        first = Counter(row.item for row in state.selections)
        assert max(first.values(), default=1) == 1


@pytest.fixture
def crew(tmp_path):
    return Crew(tmp_path, annotators={ANN: 30, BOB: 15, CID: 15}, budget=60, round_size=20)


def test_settings_take_quotas_as_json_or_text_and_refuse_what_is_none():
    good = {"annotators": {"Ann@X.org ": 3, "bob@x.org": "4"}}
    assert accept(good, {}, layer="x") == ({"annotators": {ANN: 3, BOB: 4}}, [])
    for text in ("ann@x.org: 3, bob@x.org:4", '{"ann@x.org": 3, "bob@x.org": 4}'):
        assert accept({"annotators": text}, {}, layer="x") == ({"annotators": {ANN: 3, BOB: 4}}, [])
    for bad in ({"ann": 3}, {ANN: -1}, {ANN: 1, "ANN@x.org": 2}, "ann@x.org", [ANN], {ANN: "many"}):
        accepted, problems = accept({"annotators": bad}, {}, layer="x")
        assert accepted == {}
        assert problems[0].name == "annotators"
    assert accept({"overlap": 1.5}, {}, layer="x")[1]


def test_quotas_and_budget_are_filled_exactly_and_the_sites_lie_alike_in_every_queue(crew):
    for _ in range(3):
        assert crew.step(select_round)
        crew.fill_all()
        crew.label(crew.state().open)
        crew.check(60, Counter())
    assert {name: len(tasks) for name, tasks in crew.queues.items()} == {
        "": 0,
        ANN: 30,
        BOB: 15,
        CID: 15,
        DEE: 0,
    }
    assert not crew.step(select_round)
    state = crew.state()
    assert (state.left, state.room, len(state.labels)) == (0, 0, 60)
    site = {row.id: row.data["site"] for row in state.items}
    share = np.mean([site[item] == "north" for item in state.labels])
    for name in (ANN, BOB, CID):
        own = np.mean([site[item] == "north" for item, _ in crew.queues[name]])
        assert abs(own - share) < 0.1, name
    halves = [np.mean([rank for _, rank in crew.queues[name]]) for name in (ANN, BOB, CID)]
    assert max(halves) - min(halves) < 4  # early and late ranks alike


def test_a_tenth_goes_to_two_and_counts_once_against_the_budget(tmp_path):
    crew = Crew(tmp_path, annotators={ANN: 40, BOB: 40}, budget=50, round_size=10, overlap=0.1)
    while crew.step(select_round):
        crew.fill_all()
        crew.label(crew.state().open)
        crew.check(50, Counter())
    both = {item for item, _ in crew.queues[ANN]} & {item for item, _ in crew.queues[BOB]}
    assert len(both) == 5
    assert len(crew.state().used) == 50
    assert sum(map(len, crew.queues.values())) == 55
    assert dict(crew.queues[ANN]).keys() | dict(crew.queues[BOB]).keys() == crew.state().labels.keys()
    first = dict(crew.queues[ANN])
    assert all(
        first[item] == rank for item, rank in crew.queues[BOB] if item in both
    )  # the same rank in both


def test_second_readings_take_places_but_never_those_of_images(tmp_path):
    crew = Crew(tmp_path, annotators={ANN: 11, BOB: 11}, budget=60, round_size=10, overlap=0.5)
    while crew.step(select_round):
        crew.fill_all()
        crew.label(crew.state().open)
    state = crew.state()
    assert not state.waiting
    assert sum(map(len, crew.queues.values())) == 22
    assert 14 <= len(state.labels) <= 16  # 22 / 1.5, rounded
    assert "quotas are used up" in annotator_problems(state)[0]


def test_one_queue_for_all_gets_its_second_readings_at_the_end_of_the_round(tmp_path):
    crew = Crew(tmp_path, budget=20, round_size=10, overlap=0.2)
    for number in (1, 2):
        assert crew.step(select_round)
        crew.fill_all()
        items = [item for item, _ in crew.queues[""]]
        assert len(items) == 12 * number
        assert set(items[-2:]) <= set(items[-12:-2])
        crew.label(crew.state().open)
        crew.check(20, Counter())
    assert crew.state().left == 0


def test_who_leaves_hands_on_what_is_open_and_a_label_given_late_counts(crew):
    crew.step(select_round)
    crew.fill_all()
    left = {item for item, _ in crew.queues[BOB]}
    assert left
    crew.set(annotators={ANN: 30, DEE: 30})
    state = crew.state()
    gone = left | {item for item, _ in crew.queues[CID]}
    assert set(stranded(state)) == gone
    crew.fill_all()
    crew.check(60, {ANN: 0, DEE: 0, BOB: 5, CID: 5, "": 0})
    state = crew.state()
    assert not stranded(state)
    assert len(state.used) == 20  # the same images: nothing more of the budget
    again = {item for name in (ANN, DEE) for item, _ in crew.queues[name]}
    assert gone <= again
    crew.label(left)  # in the queue left behind, after all
    assert left <= crew.state().labels.keys()


def test_from_one_queue_to_several_and_back(tmp_path):
    crew = Crew(tmp_path, budget=40, round_size=10)
    crew.step(select_round)
    crew.fill_all()
    assert len(crew.queues[""]) == 10
    crew.set(annotators={ANN: 20, BOB: 20})
    crew.fill_all()
    assert len(crew.queues[ANN]) + len(crew.queues[BOB]) == 10
    crew.set(annotators={})
    assert not crew.fill_all()  # they are in everyone's queue still
    crew.label(crew.state().open)
    crew.step(select_round)
    crew.fill_all()
    assert len(crew.queues[""]) == 20
    crew.check(40, Counter({name: len(tasks) for name, tasks in crew.queues.items()}))


def test_quotas_lowered_stop_and_raised_go_on(crew):
    crew.step(select_round)
    crew.set(annotators={ANN: 3, BOB: 2})
    crew.fill_all()
    assert (len(crew.queues[ANN]), len(crew.queues[BOB]), len(crew.queues[CID])) == (3, 2, 0)
    assert len(crew.state().waiting) == 15
    crew.set(annotators={ANN: 13, BOB: 10})
    crew.fill_all()
    assert (len(crew.queues[ANN]), len(crew.queues[BOB])) == (11, 9)  # 15 more, as 10 to 8
    crew.check(60, Counter())


def test_an_unknown_account_is_named_and_the_others_go_on(crew):
    crew.store.set_annotators(crew.project, {"who@x.org": {"user": None}})
    crew.set(annotators={ANN: 60, "who@x.org": 40})
    crew.step(find_annotators)
    (words,) = crew.state().project.problems["annotators"]
    assert "who@x.org" in words
    crew.step(select_round)
    crew.fill_all()
    assert len(crew.queues[ANN]) == 20
    crew.set(annotators={ANN: 60})
    crew.step(find_annotators)
    assert "annotators" not in crew.state().project.problems


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 5))])
def test_whatever_changes_and_crashes_nothing_is_lost_or_spent_twice(tmp_path, seed):
    rng = random.Random(seed)
    crew = Crew(tmp_path, annotators={ANN: 20, BOB: 20}, budget=40, round_size=9, overlap=0.2)
    for _ in range(70):
        used = len(crew.state().used)
        placed = {name: len(tasks) for name, tasks in crew.queues.items()}
        match rng.choice(["set", "fill", "fill", "killed", "label", "label", "select", "lost"]):
            case "set":
                names = rng.sample(sorted(USERS), rng.randint(0, 4))
                crew.set(
                    annotators={name: rng.randint(0, 30) for name in names},
                    budget=rng.randint(10, 70),
                    overlap=rng.choice([0.0, 0.2, 0.6]),
                )
            case "fill":
                crew.fill(limit=rng.choice([1, 4, 50]))
            case "killed":
                crew.fill(queues=1)
            case "label":
                waiting = sorted(crew.state().open)
                crew.label(rng.sample(waiting, min(len(waiting), 5)))
            case "select":
                crew.step(select_round)
            case "lost":
                crew.lose(rng.choice(sorted(USERS)))
        crew.check(used, placed)
    before = set(crew.state().labels)
    crew.set(annotators=dict.fromkeys(USERS, 160), budget=100, overlap=0.1)
    for _ in range(40):
        crew.fill_all()
        crew.label(crew.state().open)
        crew.step(select_round)
        if len(crew.state().labels) == 100:
            break
    crew.fill_all()
    crew.step(select_round)
    crew.fill_all()  # nothing more comes
    state = crew.state()
    assert before <= state.labels.keys()
    assert len(state.labels) == len(state.used) == 100
    assert not stranded(state)
    assert not state.waiting


# How far annotators agree


def readings(n, right, seed=0):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 2, (n, 1))
    return first, np.where(rng.random((n, 1)) < right, first, 1 - first)


def test_kappa_is_cohens_and_its_interval_holds_it():
    first, second = readings(400, 0.9)
    found = agreement(first, second, [(ANN, BOB)] * 400)
    (pair,) = found["pairs"]
    observed = float((first == second).mean())
    chance = float(first.mean() * second.mean() + (1 - first.mean()) * (1 - second.mean()))
    assert pair["kappa"] == pytest.approx((observed - chance) / (1 - chance))
    assert pair["agree"] == (first == second).sum()
    low, high = pair["interval"]
    assert low < pair["kappa"] < high
    assert high - low == pytest.approx(4 * np.sqrt(observed * (1 - observed) / 400) / (1 - chance), rel=0.2)
    turned = agreement(second, first, [(BOB, ANN)] * 400)
    assert turned["pairs"][0]["kappa"] == pytest.approx(pair["kappa"])


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Two readers who are right nine times in ten of what is either class with one half: kappa is .8."""
    hits = 0
    for seed in range(100):
        low, high = agreement(*readings(100, 0.9, seed), [(ANN, BOB)] * 100)["interval"]
        hits += low <= 0.8 <= high
    assert 87 <= hits <= 100


def test_few_or_equal_readings_give_no_kappa():
    first, second = readings(FEWEST - 1, 0.9)
    found = agreement(first, second, [(ANN, BOB)] * len(first))
    assert found["kappa"] is None
    assert "not known yet" in found["sentence"]
    same = np.zeros((50, 1), dtype=np.int64)
    assert agreement(same, same, [(ANN, BOB)] * 50)["kappa"] is None


@pytest.mark.filterwarnings("error")
def test_readings_of_which_one_differs_have_an_interval():
    """A draw without that one has no kappa, and no draw is a mean of nothing."""
    first, second = np.zeros((2, 50, 1), dtype=np.int64)
    first[0] = second[0] = 1
    found = agreement(first, second, [(ANN, BOB)] * 50)
    assert found["kappa"] == 1
    assert found["interval"] == [1, 1]


def test_several_classes_an_image_are_compared_class_by_class():
    first, second = readings(200, 0.9)
    other, again = readings(200, 0.7, seed=1)
    found = agreement(np.hstack([first, other]), np.hstack([second, again]), [(ANN, BOB)] * 200)
    alone = [agreement(*pair, [(ANN, BOB)] * 200)["kappa"] for pair in ((first, second), (other, again))]
    assert found["kappa"] == pytest.approx(np.mean(alone))


def test_the_status_names_people_and_what_they_did(crew):
    crew.step(select_round)
    crew.fill_all()
    items = [item for item, _ in crew.queues[ANN]]
    rows = [
        {
            "annotation": place * 2 + turn,
            "item": item,
            "label": "benign" if turn and place == 0 else crew.truth[item],
            "problem": None,
            "skipped": False,
            "annotator": str(USERS[ANN] if turn == 0 else 77),
            "updated_at": "2026-01-01",
        }
        for place, item in enumerate(items)
        for turn in (0, 1)
    ]
    crew.store.replace_labels(crew.project, 111, rows)
    state = crew.state()
    people = {one.email: asdict(one) for one in annotators(state)}
    assert people[ANN] == {
        "email": ANN,
        "quota": 30,
        "known": True,
        "queue_project": 111,
        "placed": len(items),
        "open": 0,
        "labelled": len(items),
    }
    assert people[BOB]["open"] == people[BOB]["placed"] > 0
    found = agreement_of(state)
    assert found["images"] == len(items)
    assert found["pairs"][0]["annotators"] == [ANN, "user 77"]


# In a real Label Studio


@pytest.fixture
def crew_project(studio, browser, tmp_path):
    """A pool project in Label Studio, embedded and looked through, before its first round."""
    client = LabelStudio(studio.url, studio.token)
    for email in (ANN, BOB):
        account(browser, studio, email)
    pool = client.create_project("Crew", LABEL_CONFIG, description="My own words.\nAnd more.")
    server = ServerSettings(
        data_dir=tmp_path, public_url="http://127.0.0.1:9", dashboard_url="https://cdsel.example.org/"
    )
    world = World(tmp_path)
    tasks = [{"data": dict(row.data)} for row in world.store.items(world.project)]
    ids = client.import_tasks(pool, tasks)
    project = world.store.connect_project(
        studio.url,
        pool,
        title="Crew",
        label_config=LABEL_CONFIG,
        backbone="b",
        layers={
            "extra parameters": {
                "budget": 20,
                "round_size": 10,
                "annotators": {ANN: 10, BOB: 20, "ghost@x.org": 5},
                "overlap": 0.2,
            }
        },
    )
    rows = [PoolTask(task, one["data"], one["data"]["image"]) for task, one in zip(ids, tasks, strict=True)]
    world.store.sync_pool(project, rows)
    items = world.store.items(project)
    world.store.add_vectors("b", [(row.id, f"{i:064}", world.vectors[i]) for i, row in enumerate(items)])
    context = Context(world.store, server, client)
    detect_confounders(context, State(world.store, project))
    yield context, project
    for queue_project in (pool, *State(world.store, project).queues.values()):
        client.request("DELETE", f"/api/projects/{queue_project}/")
    world.store.close()


class Embedded:
    """Stands for the backbone that all of the pool's vectors are of."""

    fingerprint = "b"
    problems = ()


def state_of(context, project):
    return State(context.store, project)


def test_queues_are_made_described_and_filled_and_an_import_that_was_not_recorded_is_adopted(
    crew_project, monkeypatch
):
    context, project = crew_project
    assert find_annotators(context, state_of(context, project))
    assert not find_annotators(context, state_of(context, project))
    assert "ghost@x.org" in state_of(context, project).project.problems["annotators"][0]
    # Of another pool of that title, say: two projects of one title would be the same to annotators.
    other = context.studio.create_project("Crew · queue ann", LABEL_CONFIG)
    assert select_round(context, state_of(context, project))
    assert push(context, state_of(context, project))  # makes the queues
    queues = state_of(context, project).queues
    assert set(queues) == {ANN, BOB}
    store = context.store
    killed = {"left": 2}

    def die(*_: object) -> None:
        killed["left"] -= 1
        if killed["left"] == 0:
            raise KeyboardInterrupt  # after the second import, before it is recorded

    with monkeypatch.context() as patched:
        record = queue._record
        patched.setattr(queue, "_record", lambda *a: (die(), record(*a)))
        with pytest.raises(KeyboardInterrupt):
            push(context, state_of(context, project))
    imported = {name: list(context.studio.tasks(number)) for name, number in queues.items()}
    assert sum(map(len, imported.values())) == 12
    before = state_of(context, project)
    assert len(before.pushed) < 10 or len(before.copies) < 2
    while push(context, state_of(context, project)):
        pass
    state = state_of(context, project)
    assert (len(state.pushed), len(state.copies), state.waiting) == (10, 2, [])
    for name, number in queues.items():
        tasks = list(context.studio.tasks(number))
        assert len(tasks) == len(imported[name])  # nothing twice
        ranks = [task["data"]["cdsel_rank"] for task in tasks]
        assert ranks == sorted(set(ranks))
        quota = state.settings.annotators[name]
        assert [task["data"]["cdsel_place"] for task in tasks] == [
            f"{place} of {quota}" for place in range(1, len(tasks) + 1)
        ]
        shown = context.studio.project(number)
        assert shown["title"] == f"Crew · queue {f'ann {number}' if name == ANN else 'bob'}"
        dashboard = f"https://cdsel.example.org/projects/{state.project.pool_project}"
        for words in (shown["description"], shown["expert_instruction"]):
            assert dashboard in words
            assert "Crew" in words
        assert name in shown["description"]
    context.studio.update_project(queues[BOB], title="Bob's own")
    context.studio.update_project(other, title="Team · queue ann")
    rename_queues(context, state, "Team")
    titles = [context.studio.project(queues[name])["title"] for name in (ANN, BOB)]
    assert titles == [f"Team · queue ann {queues[ANN]}", "Bob's own"]
    context.studio.request("DELETE", f"/api/projects/{other}/")
    renamed = context.studio.project(queues[BOB])
    assert ("“Team” (project" in renamed["description"], ">Team</a>" in renamed["expert_instruction"]) == (
        True,
        True,
    )
    assert store.project_of(queues[ANN]).id == project
    # The same image labelled in both queues is one label and one image of the budget.
    both = state.placed[ANN] & state.placed[BOB]
    for number in queues.values():
        for task in context.studio.tasks(number):
            context.studio.submit(task["id"], SPACE.result_for("benign"))
    sync_queues(context, state_of(context, project), list(queues.values()), 1.0)
    state = state_of(context, project)
    assert len(both) == 2
    assert (len(state.labels), len(state.annotations), state.left) == (10, 12, 10)


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False])
def test_a_queue_that_was_deleted_leaves_its_labels_and_hands_on_what_was_open(crew_project, named):
    context, project = crew_project
    settings = state_of(context, project).settings
    context.backbones[settings.backbone, settings.backbone_weights, settings.features, settings.view] = (
        Embedded()
    )

    def go_on():
        context.store.update_project(project, pool_synced_at=0.0, queue_synced_at=0.0)
        for _ in range(20):
            if not reconcile(context, project):
                return state_of(context, project)
        pytest.fail("it never rests")

    before = go_on()
    lost = before.queues[BOB]
    task = context.studio.next_task(lost)
    context.studio.submit(task["id"], SPACE.result_for("benign"))
    before = go_on()
    (labelled,) = before.labels
    context.studio.request("DELETE", f"/api/projects/{lost}/")
    if not named:
        layers = before.project.layers
        extra = {**layers["extra parameters"], "annotators": {ANN: 20}, "overlap": 0.0}
        context.store.update_project(project, layers={**layers, "extra parameters": extra})
    state = go_on()
    assert state.labels == {labelled: "benign"}
    assert f"(project {lost}) was deleted" in state.project.problems["lost queues"][0]
    assert "worker" not in state.project.problems
    assert lost not in state.sources
    assert (state.open, state.used, state.waiting) == (before.open, before.used, [])
    assert (BOB in state.queues) is named
    tasks = [task for queue in state.queues.values() for task in context.studio.tasks(queue)]
    task_of = {row.id: row.task for row in state.items}
    assert {task_of[item] for item in state.open} <= {task["data"]["cdsel_item"] for task in tasks}
    assert len(state.copies) == (2 if named else 0)
    assert len({(row.item, row.annotator) for row in (*state.selections, *state.copies)}) == 12 - 2 * (
        not named
    )
    for task in tasks:
        context.studio.submit(task["id"], SPACE.result_for("benign"))
    context.store.update_project(project, layers={**state.project.layers, "dashboard": {"paused": True}})
    assert "lost queues" not in go_on().project.problems
    if named:
        an_account_that_was_removed_is_said_and_its_open_images_go_to_others(context, project, go_on)


def an_account_that_was_removed_is_said_and_its_open_images_go_to_others(context, project, go_on):
    layers = state_of(context, project).project.layers
    more = {"paused": False, "overlap": 0.0, "budget": 14, "annotators": {ANN: 20, BOB: 20}}
    context.store.update_project(project, layers={**layers, "dashboard": more})
    before = go_on()
    assert before.placed[BOB] & before.open
    (organization,) = context.studio.get("/api/organizations")
    user = before.annotators[BOB].user
    context.studio.request("DELETE", f"/api/organizations/{organization['id']}/memberships/{user}/")
    state = go_on()
    assert f"Label Studio knows no account {BOB}" in state.project.problems["annotators"][0]
    assert state.open == before.open
    assert state.open <= state.placed[ANN]
    assert state.labels == before.labels
    context.studio.request("DELETE", f"/api/users/{user}/")  # the address is free for the tests that follow


def test_no_queue_is_forgotten_where_not_even_the_pool_is_found(crew_project):
    context, project = crew_project
    context.store.update_project(project, pool_project=10**6)
    context.store.set_annotators(project, {ANN: {"user": 1, "queue_project": 10**6 + 1}})
    with pytest.raises(NotFound):
        reconcile(context, project)
    assert state_of(context, project).queues == {ANN: 10**6 + 1}
    context.store.set_annotators(project, {ANN: {"queue_project": None}})


def test_our_line_in_the_pools_description_is_kept_true_and_nothing_else_is_touched(crew_project):
    context, project = crew_project
    pool = state_of(context, project).project.pool_project

    def text():
        return context.studio.project(pool)["description"]

    assert describe(context, state_of(context, project))
    queues = sorted(set(state_of(context, project).queues.values()) - {pool})
    plural = "s" if len(queues) > 1 else ""
    here = f" · label in project{plural} {', '.join(map(str, queues))}, not here" if queues else ""
    line = f"cdsel: 0 of 20 labelled{here} · dashboard https://cdsel.example.org/projects/{pool}"
    line += f" · backend {context.store.instance()}"
    assert text() == f"My own words.\nAnd more.\n\n{line}"
    assert not describe(context, state_of(context, project))  # nothing moved: our own echo starts nothing
    context.studio.update_project(pool, description=f"Before.\n{line}\nAfter, cdsel: is a word.")
    context.store.note_problems(project, "extra parameters", ["budget = 'lots' is refused"])
    assert describe(context, state_of(context, project))
    assert text() == f"Before.\n{line} · problems: budget = 'lots' is refused\nAfter, cdsel: is a word."
    context.store.note_problems(project, "extra parameters", [])
    assert describe(context, state_of(context, project))
    assert text() == f"Before.\n{line}\nAfter, cdsel: is a word."


def test_our_line_is_one_however_often_it_was_pasted():
    line = "cdsel: 1 of 2 labelled · dashboard x"
    assert with_line(f"a\n{line}\nb\n{line} · problems: y", "new") == "a\nnew\nb\n"
    assert with_line("", "new") == "new"


def test_a_long_problem_is_cut(crew):
    line = status_line(crew.state(), "x", "0" * 16, ["very " * 400])
    assert len(line) < 600
    assert line.endswith("…")
