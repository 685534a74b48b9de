"""The gallery: what an address finds, in which order, what is excluded or put first from it, and one image."""

from __future__ import annotations

import html
import re
import time

import numpy as np
import pytest
from filled import POOL, STUDIO_URL
from paged import CONFIG, client, embedded, label, post, project, push, rows_of
from sqlalchemy import event

from cdsel_backend.server.image_filter import inside
from cdsel_backend.store import PoolTask, State
from cdsel_backend.store.records import Directive

__all__ = ["client", "project"]  # fixtures

PATH = f"/projects/{POOL}/gallery"


def tasks(client, query=""):
    """The tasks that a page of the gallery shows, in order."""
    answer = client.get(f"{PATH}{query}")
    assert answer.status_code == 200, answer.text
    return [int(task) for task in re.findall(r"Image of task (\d+)", answer.text)]


def direct(client, query="", **form):
    return post(client, f"/gallery{query}", **form)


def flashed(client, answer):
    page = html.unescape(client.get(answer.location).text)
    return re.search(r'<div class="note" role="status"><p>(.*?)</p>', page)[1]


def test_a_class_is_called_what_the_labeling_config_calls_it(client, store, project):
    items = embedded(store, project, n=4)
    push(store, project, items)
    label(store, project, {items[0]: '["a"]', items[1]: "cat"})
    config = CONFIG.replace("<Choice ", "<Choice value='[\"a\"]'/><Choice ", 1)
    for known, shown in ((CONFIG, "a"), (config, '["a"]')):
        store.update_project(project, label_config=known)
        for page in ("gallery", "queue"):
            text = html.unescape(client.get(f"/projects/{POOL}/{page}").text)
            assert re.findall(r'<span class="tag[^"]*">([^<]*a[^<]*)</span>', text) == [shown, "cat"], page


def test_every_facet_filters_and_the_csv_holds_exactly_what_is_filtered(client, store, project):
    items = embedded(store, project, n=12)
    push(store, project, items[:5])
    label(store, project, {items[0]: "dog", items[1]: "cat", items[2]: None})
    expected = {
        "": range(100, 112),
        "?variable.site=a": range(100, 112, 2),
        "?label=dog": [100],
        "?label=dog&label=cat": [100, 101],
        "?label=dog&label=cat&variable.site=b": [101],
        "?state=skipped": [102],
        "?state=with+the+annotators": [103, 104],
        "?round=round+1&label=not+labelled": [102, 103, 104],
        "?annotator=user+7": [100, 101],
        "?search=107": [107],
        f"?search={500 + items[3]}": [103],
        "?label=bird": [],
    }
    for query, wanted in expected.items():
        assert tasks(client, query) == list(wanted), query
        answer = client.get(f"{PATH}.csv{query}")
        rows = rows_of(answer)
        assert [int(row["task"]) for row in rows] == list(wanted), query
    rows = rows_of(client.get(f"{PATH}.csv?label=dog"))
    assert {
        name: rows[0][name] for name in ("state", "label", "annotators", "round", "rank", "data.site")
    } == {
        "state": "labelled",
        "label": "dog",
        "annotators": "user 7",
        "round": "1",
        "rank": "1",
        "data.site": "a",
    }


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("MÜLLER", [100]),
        ("müller", [100]),
        ("100%", [101]),
        ("_", [102]),
        ('"', [103]),
        ("\\", [104]),
        ("note", []),  # the name of a field is none of its values
        ("  p17 ", [105]),
    ],
)
def test_the_search_finds_text_as_it_was_typed(client, store, project, search, found):
    said = ["Frau Müller", "100% sure", "a_b", 'the "left" one', "c:\\scan", "P17"]
    items = embedded(store, project, n=len(said))
    tasks_of = [{"image": "/x.jpg", "site": "ab"[i % 2], "note": text} for i, text in enumerate(said)]
    store.change_pool(project, [PoolTask(100 + i, data, f"/{i}.jpg") for i, data in enumerate(tasks_of)])
    assert [row.id for row in store.items(project)] == items
    answer = client.get(PATH, query_string={"search": search})
    assert [int(task) for task in re.findall(r"Image of task (\d+)", answer.text)] == found


def test_pages_follow_each_other_and_keep_the_filter(client, store, project):
    embedded(store, project, n=120)
    first, second = tasks(client, "?variable.site=a"), tasks(client, "?variable.site=a&page=2")
    assert (len(first), len(second)) == (48, 12)
    assert [*first, *second] == list(range(100, 220, 2))
    page = client.get(f"{PATH}?variable.site=a").text
    assert re.search(r'rel="next" href="[^"]*variable\.site=a&amp;page=2"', page)
    assert tasks(client, "?variable.site=a&page=99") == second


@pytest.mark.parametrize(
    "query",
    [
        "?labl=dog",
        "?prediction=dog",
        "?order=size",
        "?area=1,2,3",
        "?area=0,0,9,9,x,1",
        f"?search={'x' * 201}",
    ],
)
def test_what_is_no_filter_is_refused_and_lets_nothing_through(client, store, project, query):
    embedded(store, project)
    answer = client.get(f"{PATH}{query}", headers={"Accept": "application/json"})
    assert answer.status_code == 400
    assert len(answer.json["error"]) > 20
    assert direct(client, query, action="exclude", scope="all", found="6").status_code == 400
    assert store.directives(project) == {}


def test_what_tasks_say_is_text_on_the_page_and_no_formula_in_the_file(client, store, project):
    embedded(store, project, n=4, note="=1+1", who="<script>alert(1)</script>")
    page = client.get(f"{PATH}?search=<script>").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    item = store.items(project)[0].id
    assert "<script>alert" not in client.get(f"{PATH}/{item}").text
    rows = rows_of(client.get(f"{PATH}.csv"))
    assert rows[0]["data.note"] == "'=1+1"


def test_ticked_images_are_excluded_and_undo_takes_that_back(client, store, project):
    items = embedded(store, project, n=9)
    push(store, project, items[:3])
    answer = direct(client, "?page=1", action="exclude", item=items[2:5])
    assert (answer.status_code, answer.location) == (303, f"{PATH}?page=1")
    assert flashed(client, answer) == (
        "3 images are excluded and will not be selected. 1 image in the queue leaves it in a moment, unless somebody "
        "has begun to label there."
    )
    assert tasks(client, "?directive=excluded") == [102, 103, 104]
    assert State(store, project).excluded == set(items[2:5])
    assert [row.name for row in store.audit(project)] == ["images excluded"]
    assert "Last change: images excluded (tasks 102, 103, 104) by dashboard" in client.get(PATH).text
    at = re.search(r'name="at" value="([^"]*)"', client.get(PATH).text)[1]
    stale = direct(client, action="undo", at="1.5")
    assert flashed(client, stale) == "Images were changed meanwhile: nothing is undone."
    assert flashed(client, direct(client, action="undo", at=at)) == "Undone for 3 images."
    assert store.directives(project) == {}
    activity = client.get(f"/projects/{POOL}/activity").text
    assert "tasks 102, 103, 104" in activity


def test_all_that_were_found_are_put_first_in_their_order_as_long_as_the_page_said_so(client, store, project):
    items = embedded(store, project, n=12)
    answer = direct(client, "?variable.site=b", action="first", scope="all", found="6")
    assert flashed(client, answer) == "6 images are put first: the next selection begins with them."
    assert list(store.directives(project)) == items[1::2]
    answer = direct(client, "?variable.site=b", action="clear", scope="all", found="7")
    assert answer.status_code == 400
    assert len(store.directives(project)) == 6
    direct(client, "?directive=put+first", action="clear", scope="all", found="6")
    assert store.directives(project) == {}


def test_nothing_ticked_changes_nothing_and_says_what_to_do(client, store, project):
    embedded(store, project)
    assert flashed(client, direct(client, action="exclude")).startswith("Tick the images")
    assert flashed(client, direct(client, action="undo")) == "There is nothing to undo."
    assert direct(client, action="delete").status_code == 400


def test_another_projects_image_is_neither_shown_nor_changed(client, store, project):
    embedded(store, project)
    other = store.connect_project(STUDIO_URL, 77, label_config=CONFIG)
    strange = embedded(store, other)[0]
    assert direct(client, action="exclude", item=strange).status_code == 400
    assert direct(client, action="exclude", item="9" * 30).location == PATH
    assert client.get(f"{PATH}/{strange}").status_code == 404
    assert client.get(f"/projects/{POOL}/images/{strange}").status_code == 404
    assert store.directives(other) == {}


def test_a_form_of_another_site_changes_nothing(client, store, project):
    items = embedded(store, project)
    answer = client.post(PATH, data={"action": "exclude", "item": items[0], "csrf_token": "guess"})
    assert answer.status_code == 400
    assert store.directives(project) == {}


@pytest.mark.parametrize("query", ["?_external=1&_scheme=javascript", "?pool_project=5", "?item=3&_anchor=x"])
def test_after_a_change_one_stays_on_this_server(client, store, project, query):
    embedded(store, project)
    assert direct(client, query, action="undo").location.startswith(f"{PATH}?")


def test_an_image_tells_its_history_and_leads_to_its_neighbours(client, store, project):
    items = embedded(store, project, n=6)
    push(store, project, items[:3], sentence="Unlike the images chosen before it.")
    label(store, project, {items[2]: "dog"})
    store.direct(project, [items[2]], Directive.EXCLUDED, who="ann")
    page = html.unescape(client.get(f"{PATH}/{items[2]}?variable.site=a").text)
    for words in (
        "2 of 3 found",
        "Unlike the images chosen before it.",
        "Selected in round 1 with rank 3",
        f"In the queue as task {500 + items[2]}",
        "Labelled dog by user 7",
        "Excluded by ann",
        "No longer exclude",
    ):
        assert words in page, words
    assert re.search(rf'rel="prev" href="{PATH}/{items[0]}\?variable.site=a"', page)
    assert re.search(rf'rel="next" href="{PATH}/{items[4]}\?variable.site=a"', page)
    outside = client.get(f"{PATH}/{items[1]}?variable.site=a").text
    assert 'rel="next"' not in outside, "it is none of those that were found"
    answer = direct(client, "?variable.site=a", action="clear", item=items[2], **{"from": items[2]})
    assert answer.location == f"{PATH}/{items[2]}?variable.site=a"
    assert store.directives(project) == {}


def test_an_area_drawn_on_the_map_is_a_filter(client, store, project):
    embedded(store, project, n=40)
    every = "-1,-1,65536,-1,65536,65536,-1,65536"
    left = "-1,-1,32767,-1,32767,65536,-1,65536"
    assert tasks(client, f"?area={every}") == list(range(100, 140))
    part = tasks(client, f"?area={left}")
    assert 0 < len(part) < 40
    assert set(tasks(client, f"?area={left}&variable.site=a")) == {task for task in part if task % 2 == 0}


def test_a_place_lies_inside_by_the_even_odd_rule():
    star = [(50, 0), (80, 100), (0, 35), (100, 35), (20, 100)]
    places = np.array([(50, 10), (50, 50), (10, 36), (0, 0), (95, 90), (50, 99)], dtype=np.uint16)
    # The middle of a star that crosses itself is outside.
    assert inside(places, star).tolist() == [True, False, True, False, False, False]


def test_a_page_reads_the_images_it_shows_and_no_others(client, store, project):
    """However large the pool: what is kept of it in memory is filtered, and the database is asked for one page."""
    embedded(store, project, n=300)
    tasks(client)  # reads the table of the pool once
    read = []
    event.listen(store.engine, "after_cursor_execute", lambda *given: read.append(given[2]))
    began = time.monotonic()
    assert len(tasks(client, "?variable.site=a&page=2")) == 48
    assert time.monotonic() - began < 30
    of_items = [statement for statement in read if "items.data" in statement]
    assert len(of_items) <= 2  # those of the page, and images left out
    assert all("IN (" in one or "LIMIT" in one for one in of_items)


def beside(store, project):
    """Three embedded images, one that waits and one that cannot be used; both of these are of other sites."""
    embedded(store, project, n=3)
    more = [
        PoolTask(100 + n, {"image": f"/{n}.jpg", "site": "bc"[n % 2], "note": f"N{n}"}, f"/{n}.jpg")
        for n in (3, 4)
    ]
    store.change_pool(project, more)
    waiting, broken = (item.id for item in store.items(project)[3:])
    store.note_unusable([(broken, "404: no such file", 0.0)])
    return waiting, broken


def test_images_that_are_not_embedded_are_found_by_all_that_is_known_of_them(client, store, project):
    waiting, broken = beside(store, project)
    push(store, project, [broken])
    label(store, project, {broken: "dog"})
    for query, wanted in {
        "?variable.site=b": [101, 104],
        "?variable.site=c": [103],
        "?variable.site=c&state=not+embedded": [103],
        "?label=dog": [104],
        "?label=not+labelled&variable.site=c": [103],
        "?state=labelled": [104],
        "?state=not+embedded": [103, 104],
        "?round=round+1": [104],
        "?annotator=user+7": [104],
        "?area=-1,-1,65536,-1,65536,65536,-1,65536": [100, 101, 102],
    }.items():
        assert tasks(client, query) == wanted, query
    page = client.get(PATH).text
    for option in ("c (1)", "b (2)", "dog (1)", "not embedded (2)", "labelled (1)"):
        assert f">{option}</option>" in page, option
    direct(client, "?variable.site=c", scope="all", found="1", action="exclude")
    assert State(store, project).excluded == {waiting}
    assert tasks(client, "?directive=excluded") == [103]


def test_metadata_of_many_images_that_wait_are_not_read_and_the_page_says_so(
    client, store, project, monkeypatch
):
    monkeypatch.setattr("cdsel_backend.server.pool_table.MOST_TYPED", 1)
    beside(store, project)
    assert tasks(client, "?variable.site=b") == [101]
    assert "2 images are not embedded yet, and are found" in client.get(f"{PATH}?variable.site=b").text
    assert tasks(client, "?state=not+embedded") == [103, 104]


def test_images_that_are_not_embedded_are_listed_by_their_state_and_the_search(client, store, project):
    waiting, broken = beside(store, project)
    assert tasks(client) == [100, 101, 102, 103, 104]
    assert tasks(client, "?state=not+embedded") == [103, 104]
    assert tasks(client, "?state=in+the+pool") == [100, 101, 102]
    assert tasks(client, "?search=N4") == tasks(client, "?search=104") == [104]
    assert tasks(client, "?label=cat") == []
    assert tasks(client, "?label=not+labelled&search=N4") == [104]
    page = client.get(PATH).text
    assert "not embedded (2)" in page
    assert page.count("not embedded yet<") == page.count("cannot be used<") == 1
    rows = rows_of(client.get(f"{PATH}.csv"))
    assert [(row["task"], row["state"], row["problem"], row["data.note"]) for row in rows][2:] == [
        ("102", "in the pool", "", ""),
        ("103", "not embedded", "", "N3"),
        ("104", "not embedded", "404: no such file", "N4"),
    ]
    direct(client, "?state=not+embedded", scope="all", found="2", action="exclude")
    assert State(store, project).excluded == {waiting, broken}


def test_a_pool_of_which_nothing_is_embedded_is_listed(client, store, project):
    assert "The pool holds no image." in client.get(PATH).text
    store.sync_pool(project, [PoolTask(7, {"image": "/7.jpg"}, "/7.jpg")])
    assert tasks(client) == [7]
    item = store.items(project)[0].id
    assert "not embedded" in client.get(f"{PATH}/{item}").text
