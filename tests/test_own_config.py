"""The labeling config of a queue that an administrator changed in a real Label Studio."""

from __future__ import annotations

import pytest
from desk import Desk, make_pool
from test_labels import TEMPLATES

from cdsel_backend.labelstudio.queue_config import queue_config
from cdsel_backend.reconcile.intake import FORMER_CONFIG, sync

CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="diagnosis" toName="image" required="true">'
    '<Choice value="benign"/><Choice value="malignant"/></Choices></View>'
)


@pytest.fixture
def desk(studio, tmp_path):
    """Books on a pool of which a round is open; labels are mirrored."""
    desk = Desk(studio, make_pool(studio, CONFIG, images=20), tmp_path, mirror=True)
    desk.go_on()
    return desk


def config_of(desk, project=None):
    return desk.client.project(project or desk.state().project.queue_project)["label_config"]


def change(desk, text, project=None):
    desk.client.update_project(project or desk.state().project.queue_project, label_config=text)


def problems(desk):
    return desk.state().project.problems.get("queue config", [])


@pytest.mark.slow
def test_what_an_administrator_changes_in_the_queue_is_kept_where_it_asks_the_same(desk):
    queue, pool = desk.state().project.queue_project, desk.state().project.pool_project
    # As long as nobody changed it, it follows the pool's.
    hinted = CONFIG.replace("</View>", '<Header value="Both sides of the lesion"/></View>')
    change(desk, hinted, pool)
    desk.look()
    assert config_of(desk) == queue_config(hinted)
    # A hint of the queue's own, and a comment box.
    note = '<Header value="Ask Ann where unsure"/><TextArea name="note" toName="image"/></View>'
    own = config_of(desk).replace("Both sides of the lesion", "All of it")
    own = own[: own.rindex("</View>")] + note
    change(desk, own)
    for _ in range(2):
        desk.go_on()
        assert config_of(desk) == own
    assert problems(desk) == []
    (words,) = desk.said("CONFIG_KEPT")
    assert f"the labeling config of the queue (project {queue}), which was changed in Label Studio" in words
    assert f"paste the labeling config of the connected project (project {pool})" in words
    # Labels come in, and are mirrored without what the pool does not ask.
    first, *_ = desk.tasks()
    result = [
        {
            "from_name": "diagnosis",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": ["malignant"]},
        },
        {"from_name": "note", "to_name": "image", "type": "textarea", "value": {"text": ["odd"]}, "id": "n1"},
    ]
    desk.client.submit(first["id"], result)
    desk.store.set_fact(f"mirror of project {desk.project}", None)  # it is due at once
    state = desk.go_on()
    assert list(state.labels.values()) == ["malignant"]
    (copied,) = (task for task in desk.tasks(pool) if task["annotations"])
    (annotation,) = copied["annotations"]
    assert [part["from_name"] for part in annotation["result"]] == ["diagnosis"]
    # A change of the pool's that leaves the question alone does not reach it, and that is said.
    change(desk, CONFIG, pool)
    desk.look()
    assert config_of(desk) == own
    assert len(desk.said("CONFIG_KEPT")) == 2
    # A class more does not fit any more.
    more = CONFIG.replace('<Choice value="malignant"', '<Choice value="unsure"/><Choice value="malignant"')
    change(desk, more, pool)
    state = desk.look()
    assert config_of(desk) == own
    (words,) = problems(desk)
    assert "does not fit: it lacks the class 'unsure'" in words
    assert f"Settings > Labeling Interface of project {queue}" in words
    assert list(state.labels.values()) == ["malignant"]
    # The fix that it names.
    change(desk, more)
    desk.look()
    assert config_of(desk) == queue_config(more)
    change(desk, CONFIG, pool)
    desk.look()
    assert (problems(desk), config_of(desk)) == ([], queue_config(CONFIG))


def test_what_does_not_serve_is_named_and_left_alone(desk):
    queue, pool = desk.state().project.queue_project, desk.state().project.pool_project
    extra = config_of(desk).replace("<Choices ", '<Choices cdsel_budget="7" ')
    change(desk, extra.replace('value="malignant"', 'value="bad"'))
    desk.go_on()
    (words,) = problems(desk)
    assert "it lacks the class 'malignant' and it has the class 'bad'" in words
    change(desk, extra)
    desk.look()
    (words,) = problems(desk)
    assert 'says cdsel_budget="7", and settings are not read there' in words
    assert desk.state().budget == 12
    regions = (TEMPLATES / "regions.xml").read_text(encoding="utf-8").strip()
    change(desk, regions)
    desk.go_on()
    assert config_of(desk) == regions
    (words,) = problems(desk)
    assert "it has no control named 'diagnosis'" in words
    # Back to what was written: it follows again.
    change(desk, queue_config(CONFIG))
    desk.look()
    assert problems(desk) == []
    # The books do not know what was written, as before this version: what is not the pool's is somebody's own.
    desk.store.set_fact(f"labeling config written into project {queue} of {desk.client.url}", None)
    own = config_of(desk).replace("</Choices>", '</Choices><Header value="mine"/>')
    change(desk, own)
    desk.look()
    assert (config_of(desk), problems(desk)) == (own, [])
    # A control of another name in the pool, while the queue keeps its own and has labels: the labels stay.
    desk.submit(desk.tasks()[0])
    desk.look()
    change(desk, CONFIG.replace('name="diagnosis"', 'name="verdict"'), pool)
    state = desk.look()
    assert config_of(desk) == own
    assert list(state.labels.values()) == ["benign"]
    assert "asks the question of before" in state.project.problems[FORMER_CONFIG][0]
    # Where it is taken back, nothing differs from the books, and the message goes at once.
    change(desk, CONFIG, pool)
    desk.store.add_event(pool, "PROJECT_UPDATED", {})
    assert sync(desk.context, desk.state())
    assert FORMER_CONFIG not in desk.state().project.problems
