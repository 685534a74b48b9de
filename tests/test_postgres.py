"""Four annotators at once, on PostgreSQL: Label Studio's state and ours."""

from __future__ import annotations

import csv
import json
import threading
import time
from collections import Counter

import pytest
from backend import Backend, eventually
from conftest import LABEL_CONFIG
from postgres import postgres

from cdsel_backend.demo.sample import IMAGE_COLUMN, LABEL_COLUMN, draw_sample
from cdsel_backend.demo.studio import LocalStudio
from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.labels import parse_label_space
from cdsel_backend.store import State, Store

BUDGET, ROUND = 24, 12
NAMES = ("ann", "bob", "cid", "dee")
SPACE = parse_label_space(LABEL_CONFIG)


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """A Label Studio on PostgreSQL, and the address of databases of ours beside it."""
    with postgres("studio", "shared", "each") as port:
        database = {
            "DJANGO_DB": "default",
            "POSTGRE_NAME": "studio",
            "POSTGRE_USER": "postgres",
            "POSTGRE_HOST": "127.0.0.1",
            "POSTGRE_PORT": str(port),
        }
        folder = tmp_path_factory.mktemp("studio")
        with LocalStudio(folder, environment=database) as studio:
            yield studio, f"postgresql+psycopg://postgres@127.0.0.1:{port}"


@pytest.fixture(scope="module")
def people(servers):
    """Four accounts, each with a client of its own."""
    studio, _ = servers
    with studio.session() as admin:
        link = admin.get("/api/invite").json()["invite_url"]
    clients = {}
    for name in NAMES:
        email, password = f"{name}@x.org", f"{name}-secret-1"
        clients[email] = sign_up(studio, link, email, password)
    return clients


def sign_up(studio, link, email, password):
    import httpx

    with httpx.Client(base_url=studio.url, follow_redirects=True, timeout=60, trust_env=False) as browser:
        browser.get(link)
        form = {"email": email, "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        browser.post(link, data=form, headers={"Referer": studio.url})
        browser.get("/user/login/")
        token = browser.post("/api/token/", headers={"X-CSRFToken": browser.cookies.get("csrftoken") or ""})
        assert token.status_code == 201, f"{email} could not sign up: {token.text[:300]}"
        return LabelStudio(studio.url, token.json()["token"])


def make_pool(studio, client):
    folder = studio.document_root / "pool"
    with draw_sample(folder, n=36, seed=0).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    pool = client.create_project("Four", LABEL_CONFIG, maximum_annotations=1)
    client.add_local_storage(pool, str(folder))
    hidden = (IMAGE_COLUMN, LABEL_COLUMN)
    tasks = [
        {
            "data": {"image": f"/data/local-files/?d=pool/{row[IMAGE_COLUMN]}"}
            | {name: value for name, value in row.items() if name not in hidden}
        }
        for row in rows
    ]
    ids = client.import_tasks(pool, tasks)
    return pool, {task: row[LABEL_COLUMN] for task, row in zip(ids, rows, strict=True)}


def label_until(clients, truth, queues_of, done, log, faults):
    """Everybody takes and submits what Label Studio hands out, all at once, until `done`."""

    def work(email, client):
        try:
            while not done.is_set():
                handed = 0
                for queue in queues_of(email):
                    while (task := client.next_task(queue)) is not None:
                        handed += 1
                        log.append(
                            (email, queue, task["id"], task["data"]["cdsel_rank"], task["data"]["cdsel_item"])
                        )
                        client.submit(task["id"], SPACE.result_for(truth[task["data"]["cdsel_item"]]))
                if not handed:
                    time.sleep(1.0)
        except Exception as fault:
            faults.append(f"{email}: {fault!r}")
            done.set()

    threads = [threading.Thread(target=work, args=pair) for pair in clients.items()]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.slow  # a Label Studio on PostgreSQL takes a minute to start
@pytest.mark.parametrize("shared", [True, False], ids=["one queue", "a queue each"])
def test_four_annotators_share_no_image_keep_the_order_and_use_the_budget_exactly(
    servers, people, tmp_path, shared
):
    studio, server = servers
    url = f"{server}/{'shared' if shared else 'each'}"
    client = LabelStudio(studio.url, studio.token)
    pool, truth = make_pool(studio, client)
    settings = {"budget": BUDGET, "round_size": ROUND, "retrain_every": 100}
    if not shared:
        settings["annotators"] = {email: 8 if email < "c" else 4 for email in people}
    done, log, faults = threading.Event(), [], []
    with Backend(tmp_path, studio.url, studio.token, CDSEL_DATABASE_URL=url) as backend:
        client.connect_backend(pool, backend.url, title="cdsel", extra_params=json.dumps(settings))

        def queues_of(email):
            status = backend.status(pool)
            if shared:
                return [status["queue_project"]] if status.get("queue_project") else []
            own = [one["queue_project"] for one in status.get("annotators", ()) if one["email"] == email]
            return [queue for queue in own if queue]

        threads = label_until(people, truth, queues_of, done, log, faults)
        try:
            status = eventually(
                lambda: faults or ((one := backend.status(pool)).get("labelled") == BUDGET and one),
                "the budget was never used up",
                seconds=400,
                details=lambda: f"{backend.status(pool)}\n{backend.tail()}",
            )
            time.sleep(3)
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert not faults
        assert status["labelled"] + status["open"] == BUDGET
    assert len(log) == BUDGET  # nobody got anything beyond it
    assert max(Counter(item for *_, item in log).values()) == 1  # no image was handed out, or labelled, twice
    for email in people:
        by_queue: dict[int, list[int]] = {}
        for who, queue, _, rank, _ in log:
            if who == email:
                by_queue.setdefault(queue, []).append(rank)
        for ranks in by_queue.values():
            assert ranks == sorted(ranks)  # what she got came in rank order
    per_person = Counter(who for who, *_ in log)
    if shared:
        assert len(per_person) == 4
    else:
        assert per_person == settings["annotators"]
    store = Store(url, tmp_path / "vectors")
    state = State(store, store.project_of(pool).id)
    assert len(state.annotations) == len(state.labels) == BUDGET
    assert len({row.annotator for row in state.annotations}) == 4
    store.close()
