"""Label Studio's protocol, against the requests that Label Studio 1.23.2 really sent."""

from __future__ import annotations

import base64
import json
import time
from html import unescape
from pathlib import Path

import httpx
import pytest
from conftest import served
from played import TOKEN, played_studio

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.project.connect import Connector
from cdsel_backend.server.app import create_app
from cdsel_backend.server.events import UnreadableEvent, read_event
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State
from cdsel_backend.store.records import Became, Outcome

PAYLOADS = Path(__file__).parent / "payloads"
CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<Choices name="label" toName="image"><Choice value="cat"/><Choice value="dog"/></Choices></View>'
)
SETUP = {
    "project": "5.1795458797",
    "schema": CONFIG,
    "hostname": "http://127.0.0.1:8090",
    "access_token": "x",
}


def recorded(pattern: str) -> list[Path]:
    return sorted(PAYLOADS.glob(pattern))


URL = "http://localhost"  # as the test client calls us


@pytest.fixture
def studio():
    with played_studio() as running:
        yield running


@pytest.fixture
def server(tmp_path, studio):
    return ServerSettings(data_dir=tmp_path, label_studio_url=studio.url, label_studio_api_key=TOKEN)


@pytest.fixture
def client(store, server):
    return create_app(server, store).test_client()


@pytest.fixture
def connect(client, store, server, studio):
    """Connect a project as Label Studio does: it calls /setup, and lists us when it is asked."""
    connector = Connector(server, store)

    def connect(body=SETUP, *, url=URL):
        studio.lists(int(body["project"].partition(".")[0]), url, body["schema"], body.get("extra_params"))
        answer = client.post("/setup", json=body, headers={"Host": url.partition("://")[2]})
        connector._looked.clear()
        connector.connect(LabelStudio(studio.url, TOKEN))
        return answer

    return connect


def state_of(store, source) -> State:
    return State(store, store.project_of(source).id)


@pytest.mark.parametrize("path", recorded("setup*.json"), ids=lambda path: path.stem)
def test_recorded_setup_connects_the_project_with_its_budget(connect, store, studio, path):
    exchange = json.loads(path.read_text(encoding="utf-8"))
    body, host = exchange["request"]["json"], exchange["request"]["headers"]["Host"]
    answer = connect(body, url=f"http://{host}")
    assert answer.status_code == 200
    assert answer.json.keys() >= exchange["response"]["json"].keys()
    source = int(body["project"].split(".")[0])
    extra = body["extra_params"]
    wanted = (json.loads(extra) if isinstance(extra, str) else extra)["budget"]
    assert state_of(store, source).settings.budget == wanted
    assert store.project_of(source).backend_url == f"http://{host}"
    assert store.project_of(source).studio_url == studio.url


@pytest.mark.parametrize("path", recorded("webhook*.json"), ids=lambda path: path.stem)
def test_recorded_webhooks_are_kept_and_answered(client, store, studio, path, monkeypatch):
    monkeypatch.setattr("cdsel_backend.server.protocol.WAIT_SECONDS", 30)  # however busy this machine is
    exchange = json.loads(path.read_text(encoding="utf-8"))
    body = exchange["request"]["json"]
    assert client.post("/webhook", json=body).status_code == 202  # nothing is kept of a stranger
    assert store.newest_event() == 0
    store.connect_project(studio.url, body["project"]["id"])
    answer = client.post("/webhook", json=body)
    assert answer.status_code == 201
    assert answer.json["job_id"]
    (event,) = store.open_events([body["project"]["id"]])
    assert event.action == body["action"]


def test_recorded_predict_gets_no_result_before_a_model_exists(client, connect):
    exchange = json.loads((PAYLOADS / "predict.json").read_text(encoding="utf-8"))
    connect({**SETUP, "project": exchange["request"]["json"]["project"]})
    body = exchange["request"]["json"]
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200
    assert answer.json["results"] == []
    # Where the annotator's page asks, an empty list is an error to it.
    answer = client.post("/predict", json=body | {"params": {"context": {"annotation_id": None}}})
    assert answer.json["results"] == [{"result": [], "score": 0.0}] * len(body["tasks"])


@pytest.mark.parametrize(
    ("payload", "tasks", "annotations"),
    [
        ({"action": "ANNOTATION_CREATED", "annotation": {"id": 4, "task": 9}, "task": {"id": 9}}, (9,), (4,)),
        (
            {"action": "ANNOTATIONS_CREATED", "annotation": [{"id": 4, "task": 9}, {"id": 5, "task": 8}]},
            (9, 8),
            (4, 5),
        ),
        ({"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 4}]}, (), (4,)),
        ({"action": "TASKS_DELETED", "tasks": [{"id": 1}, {"id": 2}]}, (1, 2), ()),
        ({"action": "SOMETHING_NEW", "project": {"id": "x"}, "task": "?"}, (), ()),
    ],
)
def test_every_shape_of_event_is_read(payload, tasks, annotations):
    event = read_event(payload)
    assert (event.tasks, event.annotations) == (tasks, annotations)


@pytest.mark.parametrize("payload", [None, [], "x", {}, {"action": 3}])
def test_what_is_no_event_is_refused(payload):
    with pytest.raises(UnreadableEvent):
        read_event(payload)


def test_setup_keeps_the_last_good_budget_and_says_so(client, connect, store):
    connect({**SETUP, "extra_params": '{"budget": 12}'})
    for bad, words in (
        ('{"budget": -3}', "budget = -3"),
        ('{"budget": ', "no valid JSON"),
        ("[]", "JSON object"),
    ):
        answer = connect({**SETUP, "extra_params": bad})
        assert answer.status_code == 422, "Label Studio's dialog says so and saves nothing"
        assert words in answer.status
        assert words in answer.json["error"]
        assert state_of(store, 5).settings.budget == 12
        status = client.get("/projects/5/status.json").json
        assert any(words in problem for problem in status["problems"])
        assert words in client.get("/projects/5").text.replace("&#39;", "'")
    connect({**SETUP, "extra_params": {"budget": 13}})
    assert state_of(store, 5).settings.budget == 13
    assert client.get("/projects/5/status.json").json["problems"] == []


@pytest.mark.parametrize(
    ("kept", "made", "line", "goes_along"),
    [
        ("2026-01-01T00:00:00.000001Z", "2026-01-01T01:00:00.000001+01:00", "", True),
        ("2026-01-01T00:00:00.000001Z", "2026-01-01T00:00:00.000002Z", "own", False),
        (None, "2026-01-01T00:00:00.000001Z", "own", True),
        (None, "2026-01-01T00:00:00.000001Z", "another", False),
    ],
)
def test_a_label_studio_at_another_address_keeps_all_that_is_known_of_its_projects(
    connect, store, studio, kept, made, line, goes_along
):
    former = "http://former:8080"
    known = store.connect_project(former, 5, label_config=CONFIG, layers={"dashboard": {"budget": 77}})
    if kept:
        store.set_fact(f"project 5 of {former}", kept)
    backend = {"own": store.instance(), "another": "0" * 16}.get(line)
    description = f"cdsel: 1 of 2 labelled · dashboard http://d · backend {backend}" if backend else ""
    studio.projects[5] = {"created_at": made, "description": description}
    connect()
    found = store.project_of(5, studio.url)
    assert (found.id == known) is goes_along
    assert (found.layers.get("dashboard") == {"budget": 77}) is goes_along
    assert (store.project(known).studio_url == former) is not goes_along


def test_of_several_connections_the_first_is_obeyed_whichever_is_called(store, server, studio):
    connector, budgets = Connector(server, store), (40, 10)
    with served(server, store) as url:
        other = url.replace("127.0.0.1", "localhost")

        def look(*listed: tuple[str, int], called: str) -> tuple[int, list[str]]:
            studio.lists(5, url, CONFIG)
            studio.backends[5] = [
                {
                    "id": n,
                    "title": f"model {n}",
                    "url": address,
                    "extra_params": json.dumps({"budget": budget}),
                }
                for n, (address, budget) in enumerate(listed, start=1)
            ]
            params = {**SETUP, "extra_params": studio.backends[5][-1]["extra_params"]}
            assert httpx.post(f"{called}/setup", json=params, timeout=60).status_code == 200
            connector._looked.clear()
            connector.connect(LabelStudio(studio.url, TOKEN))
            state = state_of(store, 5)
            return state.settings.budget, [problem.message for problem in state.problems]

        assert look((url, budgets[0]), called=url) == (40, [])
        budget, problems = look((url, budgets[0]), (other, budgets[1]), called=other)
        assert budget == 40
        assert len(problems) == 1
        assert "has this backend 2 times, with different extra parameters" in problems[0]
        assert f"those of model 2 ({other}) are not" in problems[0]
        assert look((url, budgets[0]), (other, budgets[0]), called=other) == (40, [])
        # The first was deleted: the second is what there is.
        assert look((other, budgets[1]), called=other) == (10, [])


def test_setup_wakes_the_worker_only_when_something_changed(client, connect, store, studio):
    for _ in range(3):
        connect()
    assert [event.action for event in store.open_events([5])] == ["SETUP"]
    asked, calls = len(studio.seen), store.setup_calls()
    client.post("/setup", json=SETUP)
    assert store.setup_calls() == calls  # Label Studio calls it each time somebody looks at Settings > Model
    connect({**SETUP, "extra_params": '{"seed": 4}'})
    assert len(store.open_events([5])) == 2
    assert len(studio.seen) > asked


def test_a_labeling_config_that_the_worker_takes_in_while_a_call_is_looked_at_stays(
    client, connect, store, monkeypatch
):
    connect()
    newer, hosts_of = CONFIG.replace("<Choice ", '<Choice value="newer"/><Choice ', 1), Connector._hosts_of

    def meanwhile(self, known):
        store.update_project(known.id, label_config=newer)
        return hosts_of(self, known)

    monkeypatch.setattr(Connector, "_hosts_of", meanwhile)
    connect({**SETUP, "extra_params": '{"seed": 4}'})
    assert state_of(store, 5).settings.seed == 4
    assert state_of(store, 5).project.label_config == newer


def test_settings_that_label_studio_saves_long_after_it_called_are_taken(
    client, connect, store, server, studio, monkeypatch
):
    connector, api, clock = Connector(server, store), LabelStudio(studio.url, TOKEN), [time.time()]
    monkeypatch.setattr("time.time", lambda: clock[0])
    connect()
    saved = {**SETUP, "extra_params": '{"budget": 7}'}
    client.post("/setup", json=saved)
    for later in (1.0, 2.0, 10.0):  # it still lists what it had before
        clock[0] += later
        connector.connect(api)
        assert state_of(store, 5).settings.budget != 7
    studio.lists(5, URL, CONFIG, saved["extra_params"])
    clock[0] += 15.0
    connector.connect(api)
    assert state_of(store, 5).settings.budget == 7
    assert store.setup_calls() == []


def test_a_new_call_is_looked_at_at_once_while_the_former_is_looked_at_ever_more_rarely(
    client, connect, store, server, studio, monkeypatch
):
    connector, api, clock = Connector(server, store), LabelStudio(studio.url, TOKEN), [time.time()]
    monkeypatch.setattr("time.time", lambda: clock[0])
    connect()
    client.post("/setup", json={**SETUP, "extra_params": '{"budget": 7}'})

    def looks():
        before = len(studio.seen)
        connector.connect(api)
        return len(studio.seen) > before

    seconds = []
    for second in range(13):
        seconds += [second] * looks()
        clock[0] += 1.0
    assert seconds == [0, 1, 2, 4, 8]
    saved = {**SETUP, "extra_params": '{"budget": 9}'}
    studio.lists(5, URL, CONFIG, saved["extra_params"])
    client.post("/setup", json=saved)
    assert looks()
    assert state_of(store, 5).settings.budget == 9


@pytest.mark.parametrize(
    "config",
    [
        "<View><Text name='t' value='$t'/><Choices name='c' toName='t'><Choice value='a'/></Choices></View>",
        "<View><Image name='i' value='$i'/></View>",
        "<View><Image",
    ],
)
def test_a_label_config_that_does_not_fit_is_refused_in_words_in_the_status_line(client, store, config):
    answer = client.post("/setup", json={**SETUP, "schema": config})
    assert answer.status_code == 422
    assert "<" not in answer.status  # which Label Studio's dialog shows as HTML
    assert unescape(answer.status) == f"422 {answer.json['error']}"
    assert answer.status.endswith("/&gt;&lt;/Choices&gt;&lt;/View&gt;")
    assert answer.json["error"].isprintable()
    assert store.projects() == []


def test_setup_and_health_answer_in_milliseconds(client, connect):
    connect()
    client.get("/health")
    start = time.process_time()
    for _ in range(20):
        client.post("/setup", json=SETUP)
        client.get("/health")
    assert (time.process_time() - start) / 40 < 0.1  # Label Studio gives /health one second


def test_connecting_the_queue_too_makes_no_second_project(connect, store):
    connect()
    store.update_project(store.project_of(5).id, queue_project=6)
    assert connect({**SETUP, "project": "6.1"}).status_code == 200
    assert len(store.projects()) == 1


OPEN = {"protocol.health", "static", "pages.pictures_css", "pages.login", "pages.sign_in"}


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])  # Label Studio sends the latter
def test_basic_auth_guards_every_route_but_health_and_the_login(store, tmp_path, encoding):
    server = ServerSettings(data_dir=tmp_path, basic_auth_user="studio", basic_auth_pass="sésame")
    app = create_app(server, store)
    client = app.test_client()
    right = {"Authorization": "Basic " + base64.b64encode("studio:sésame".encode(encoding)).decode()}
    assert client.get("/health").status_code == 200
    for rule in (rule for rule in app.url_map.iter_rules() if rule.endpoint not in OPEN):
        url = rule.rule.replace("<int:pool_project>", "1").replace("<int:item>", "1")
        url = url.replace("<path:filename>", "x")
        method = "POST" if "POST" in rule.methods else "GET"
        assert client.open(url, method=method).status_code == 401, url
        shown = client.open(url, method=method, headers={"Accept": "text/html"})
        assert (shown.status_code, shown.headers["Location"][:6]) == (303, "/login"), url
    assert client.post("/setup", json=SETUP, headers=right).status_code == 200
    assert client.get("/projects", headers=right).status_code == 200


@pytest.mark.parametrize("route", ["/setup", "/predict", "/webhook", "/train"])
@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b'"x"', b"{}"])
def test_a_body_that_is_none_is_refused_in_words(client, route, body):
    answer = client.post(route, data=body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json["error"]


def test_versions_and_train(client, connect, store):
    connect()
    project = store.project_of(5).id
    for version in ("v1", None, "v2"):
        store.add_training(
            project, version=version, round=0, labels={}, outcome=Outcome(Became.PROMOTED), metrics={}
        )
    assert client.get("/versions").json == {"versions": ["v2", "v1"]}
    assert client.post("/train", json={"project": "5.1"}).status_code == 201
    assert "START_TRAINING" in {event.action for event in store.open_events([5])}
