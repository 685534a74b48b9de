"""Images on their way in, from a Label Studio that does not give them all: whose fault it is, and what goes on."""

from __future__ import annotations

import time

import numpy as np
import pytest
from made import encode
from test_images import reply, serve
from test_pool import picture
from world import SIZE, World

from cdsel_backend.confounders import Report, Verdict
from cdsel_backend.labelstudio.client import LabelStudio, LabelStudioUnreachable
from cdsel_backend.reconcile import embedding
from cdsel_backend.reconcile.confounders import detect_confounders
from cdsel_backend.reconcile.embedding import embed
from cdsel_backend.store import PoolTask, State
from cdsel_backend.store.activity import Request

BACKBONE = {"backbone": "test_efficientnet", "backbone_weights": "random"}


def embed_from(world, url):
    """Embed what is due from the Label Studio at an address; returns how many have a vector, and are unusable."""
    world.context.studio = LabelStudio(url, "0" * 40)
    try:
        assert world.step(embed)
    finally:
        done = world.store.embedding_progress(world.project)
    return done[:2]


def embed_all(world, url):
    """Embed until nothing is due any more; returns how many have a vector, and are unusable."""
    world.context.studio = LabelStudio(url, "0" * 40)
    while world.step(embed):
        pass
    return world.store.embedding_progress(world.project)[:2]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A world whose pool was never read by its backbone; a step has all the time that a busy machine wants."""
    monkeypatch.setattr(embedding, "STEP_SECONDS", 600.0)
    return World(tmp_path, **BACKBONE)


@pytest.fixture
def studio():
    """A server that plays Label Studio: `away` are paths it does not serve, `down` whether it serves nothing."""
    shown = {"away": {}, "down": False}

    def answer(request):
        if shown["down"]:
            reply(request, 503)
        elif request.path in shown["away"]:
            reply(request, shown["away"][request.path])
        elif request.path == "/api/version":
            reply(request, 200, b'{"release": "1.23.2"}')
        else:
            reply(request, 200, encode(picture(int(request.path[1:-4]))))

    with serve(answer) as (shown["url"], shown["seen"]):
        yield shown


def test_an_image_that_label_studio_cannot_give_is_left_out_and_the_others_go_on(world, studio):
    studio["away"] = {"/7.jpg": 504, "/9.jpg": 502}
    assert embed_from(world, studio["url"]) == (SIZE - 2, 2)
    rows = [row for row in world.state().items if row.problem]
    assert [(row.image, row.attempts) for row in rows] == [("/7.jpg", 1), ("/9.jpg", 1)]
    assert "/7.jpg answered 504, though Label Studio itself answers" in rows[0].problem
    assert embed_all(world, studio["url"]) == (SIZE - 2, 2)


class Counting:
    """A backbone that counts what it embeds."""

    decoder = None
    problems = ()

    def __init__(self, backbone):
        self.fingerprint, self.batch, self.parallel = backbone.fingerprint, backbone.batch, backbone.parallel
        self.prepare, self._embed = backbone.prepare, backbone.embed_prepared
        self.images = 0

    def embed_prepared(self, pixels):
        self.images += len(pixels)
        return self._embed(pixels)


@pytest.mark.parametrize(("seconds", "images"), [(0.0, 10**6), (600.0, 8)])
def test_what_is_embedded_is_committed_while_the_step_goes_on(world, monkeypatch, seconds, images):
    """The last image comes only once some of those before it are in the books: as time passes, and after so many."""
    monkeypatch.setattr(embedding, "COMMIT_SECONDS", seconds)
    monkeypatch.setattr(embedding, "COMMIT_IMAGES", images)
    before = []

    def answer(request):
        if request.path == f"/{SIZE - 1}.jpg":
            deadline = time.monotonic() + 60
            while (
                not (done := world.store.embedding_progress(world.project)[0]) and time.monotonic() < deadline
            ):
                time.sleep(0.01)
            before.append(done)
        reply(request, 200, encode(picture(int(request.path[1:-4]))))

    with serve(answer) as (url, _):
        assert embed_from(world, url) == (SIZE, 0)
    assert 0 < before[0] < SIZE


def test_a_step_ends_where_something_else_is_to_be_done(world, studio, monkeypatch):
    monkeypatch.setattr(embedding, "COMMIT_SECONDS", 0.0)
    world.step(lambda context, state: context.backbone(state.settings))
    newest = world.store.newest_event
    monkeypatch.setattr(
        world.store, "newest_event", lambda: (world.store.add_event(3, "SELECT", {}), newest())[1]
    )
    assert embed_from(world, studio["url"])[0] < SIZE
    monkeypatch.setattr(world.store, "newest_event", newest)
    assert embed_all(world, studio["url"]) == (SIZE, 0)


def test_equal_images_are_embedded_once_in_a_project_and_across_projects(world):
    """Six different images, each many times; another project has the same images, and one that cannot be read."""

    def answer(request):
        number = int(request.path[1:-4])
        reply(request, 200, b"text" if number == 9 else encode(picture(number % 6)))

    backbone = Counting(world.step(lambda context, state: context.backbone(state.settings)))
    world.context.backbone = lambda settings: backbone
    with serve(answer) as (url, _):
        assert embed_all(world, url) == (SIZE - 1, 1)
        assert backbone.images == 6
        other = world.store.connect_project(
            "http://studio", 9, label_config=world.state().project.label_config
        )
        world.store.sync_pool(other, [PoolTask(i, {"image": f"/{i}.jpg"}, f"/{i}.jpg") for i in range(8)])
        embed(world.context, State(world.store, other))
    assert backbone.images == 6
    rows = [*world.state().items, *world.store.items(other)]
    assert {row.measures["image: width x height"] for row in rows if row.problem is None} == {"60 x 40"}
    for project in (world.project, other):
        ids, vectors = world.store.vectors(project, backbone.fingerprint)
        hashes = [row.content_hash for row in world.store.items(project) if row.problem is None]
        assert len(ids) == len(hashes)
        assert len(np.unique(vectors, axis=0)) == len(set(hashes)) == 6


def test_that_all_images_are_embedded_again_is_said_until_it_is_done(world, studio):
    """The world has vectors of another backbone: as after an upgrade, or another `features`."""
    labels = world.state().labels
    embed_from(world, studio["url"])
    assert "embedded again" in world.state().project.problems["embedding"][0]
    embed_all(world, studio["url"])
    assert "embedding" not in world.state().project.problems
    assert world.state().labels == labels


def test_label_studio_away_is_blamed_on_no_image_and_what_was_read_before_is_kept(world, studio):
    studio["away"] = {"/20.jpg": 503, "/api/version": 503}  # 20 and all that is asked then
    with pytest.raises(LabelStudioUnreachable):
        embed_from(world, studio["url"])
    read = [row.image for row in world.state().items if row.content_hash]
    assert "/0.jpg" in read
    assert "/19.jpg" in read
    assert not [row for row in world.state().items if row.problem or row.attempts]
    studio["down"] = True
    with pytest.raises(LabelStudioUnreachable):
        embed_from(world, studio["url"])
    assert not [row for row in world.state().items if row.problem or row.attempts]


def test_a_wish_for_fewer_requests_is_blamed_on_no_image(world, studio):
    studio["away"] = {"/20.jpg": 429}
    with pytest.raises(LabelStudioUnreachable):
        embed_from(world, studio["url"])
    assert not [row for row in world.state().items if row.problem]


def test_what_files_say_of_themselves_is_kept_and_judged_and_acts_only_once_it_confounds(world):
    """Images saved as grey JPEG at one place and as PNG at the other, which have the label in other shares."""
    saved_as_jpeg = [(i % 2 == 0) != (i % 5 == 0) for i in range(SIZE)]

    def answer(request):
        if request.path == "/api/version":
            reply(request, 200, b'{"release": "1.23.2"}')
            return
        i = int(request.path[1:-4])
        grey = encode(picture(i, mode="L"), "JPEG")
        data = grey if saved_as_jpeg[i] else encode(picture(i))
        reply(request, 200, data[:-2] if i == 1 else data)

    with serve(answer) as (url, _):
        embed_all(world, url)
    rows = world.state().items
    assert [row.measures["image: format"] == "JPEG" for row in rows] == saved_as_jpeg
    assert {row.measures["image: width x height"] for row in rows} == {"60 x 40"}
    (noted,) = world.store.noted(world.project)
    assert (noted.image, noted.note) == (
        "/1.jpg",
        "the end of the PNG file is missing; what is there is used",
    )
    world.step(detect_confounders)
    report = Report.from_json(world.state().project.report)
    found = {one.variable: one for one in report.findings}["image: format"]
    assert found.verdict in (Verdict.SUSPECTED, Verdict.NOT_KNOWN_YET)
    assert found.encoded > 0.8
    assert not found.acts
    assert not any(name.startswith("image: ") for name in report.confounders)
    world.label([row.id for row in rows])
    assert world.context.store.project(world.project)
    world.store.add_request(world.project, Request.TRAIN, who="admin")
    world.step(detect_confounders)
    report = Report.from_json(world.state().project.report)
    found = {one.variable: one for one in report.findings}
    confounding = [one for one in report.findings if one.from_file and one.verdict is Verdict.CONFOUNDER]
    assert confounding, found
    assert all(one.acts for one in confounding)
