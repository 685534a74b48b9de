"""Gallery and map in a real browser: keys, ticking, lasso and legend, every look; and a real Label Studio behind."""

from __future__ import annotations

import re
from contextlib import closing

import pytest
from browsing import (
    LOOKS,
    box_of,
    check_long_words,
    check_sound,
    check_usable,
    drawn_map,
    settled,
    text_of,
    wait_until,
)
from conftest import served
from desk import Desk, make_pool
from filled import POOL
from playwright.sync_api import expect

from cdsel_backend.settings import ServerSettings

GALLERY, MAP = f"/projects/{POOL}/gallery", f"/projects/{POOL}/map"


@pytest.fixture
def untouched(filled):
    """Whatever is excluded or put first is put back: the project is that of other tests, too."""
    yield filled
    directives = filled.store.directives(filled.project)
    filled.store.direct(filled.project, directives, None, who="test")


@pytest.mark.parametrize("look", LOOKS)
def test_an_image_and_a_filtered_gallery_are_sound_in_every_look(tab, address, filled, look):
    item = filled.state().selections[0].item
    for path in (f"{GALLERY}/{item}", f"{GALLERY}?label=malignant&variable.site=riverside&search=P1"):
        page = tab(**LOOKS[look])
        page.goto(address + path)
        if look == "phone" and "?" in path:  # on paper, images that were never in view are there, too
            thumbnails = page.locator(".gallery img[data-src]")
            thumbnails.first.wait_for()
            expect(thumbnails).to_have_count(page.pdf().count(b"/Width 288"))
        settled(page, "gallery")
        check_sound(page)
        if "?" in path:
            expect(page.get_by_role("heading", name=re.compile("images? of 520"))).to_be_visible()
        if look == "phone":
            check_long_words(page)


def test_keys_go_from_image_to_image_and_back_to_the_list(tab, address):
    page = tab()
    page.goto(f"{address}{GALLERY}?label=malignant")
    page.locator(".gallery a").nth(1).click()
    heading = page.get_by_role("heading", level=1)
    page.locator(".whole img").wait_for()
    page.get_by_text(re.compile(r"^2 of \d+ found$")).wait_for()
    second = text_of(heading, ".")
    wait_until(page, "document.querySelector('.whole img').naturalWidth > 288")
    page.keyboard.press("ArrowLeft")
    page.get_by_text(re.compile(r"^1 of \d+ found$")).wait_for()
    expect(heading).not_to_have_text(second)
    page.keyboard.press("ArrowRight")
    page.get_by_text(re.compile(r"^2 of \d+ found$")).wait_for()
    expect(heading).to_have_text(second)
    page.keyboard.press("Escape")
    page.get_by_role("heading", name="Gallery").wait_for()
    expect(page).to_have_url(f"{address}{GALLERY}?label=malignant")


def test_many_images_are_excluded_and_put_back_with_one_click_each(tab, address, untouched):
    page = tab()
    page.goto(f"{address}{GALLERY}?state=in+the+pool")
    exclude = page.get_by_role("button", name="Exclude", exact=True)
    expect(exclude).to_be_disabled()
    boxes = page.locator('.gallery input[type="checkbox"]')
    boxes.nth(0).check()
    boxes.nth(2).check()
    expect(page.get_by_label("Which images")).to_contain_text("the 2 ticked images")
    exclude.click()
    page.get_by_text("2 images are excluded and will not be selected.").wait_for()
    expect(page.locator(".tag", has_text="excluded")).to_have_count(2)
    page.get_by_role("button", name="Undo this change").click()
    page.get_by_text("Undone for 2 images.").wait_for()
    assert untouched.store.directives(untouched.project) == {}
    page.get_by_label("All on this page").check()
    expect(boxes.nth(47)).to_be_checked()
    page.get_by_label("Which images").select_option("all")
    page.get_by_role("button", name="Put first", exact=True).click()
    page.get_by_text("are put first").wait_for()
    assert len(untouched.store.directives(untouched.project)) > 48


def test_a_filter_applies_when_it_is_chosen_and_stands_in_the_address(tab, address):
    page = tab()
    page.goto(address + GALLERY)
    page.get_by_label("Label", exact=True).select_option("malignant")
    page.get_by_role("list", name="Filters that are set").get_by_text("malignant").wait_for()
    expect(page).to_have_url(f"{address}{GALLERY}?label=malignant")
    page.get_by_label("Search").fill("P12")
    page.keyboard.press("Enter")
    page.get_by_role("list", name="Filters that are set").get_by_text("P12").wait_for()
    expect(page).to_have_url(f"{address}{GALLERY}?search=P12&label=malignant")
    page.get_by_role("link", name="Remove all").click()
    page.get_by_role("heading", name="520 images").wait_for()


def test_legend_and_lasso_of_the_map_lead_to_the_same_images_in_the_gallery(tab, address, filled):
    page = tab()
    page.goto(address + MAP + "?colour=label")
    drawn_map(page)
    expect(page.locator("#map-title")).to_have_text("label")
    listed = page.locator("#map-list")
    for name in ("benign", "malignant"):
        page.get_by_role("button", name=re.compile(f"^{name}")).click()
    expect(listed).to_have_text(f"List {len(filled.state().labels)} images")
    page.get_by_role("button", name=re.compile("^benign")).click()
    expect(listed).to_have_attribute("href", re.compile(r"\?label=malignant$"))
    malignant = text_of(listed, r"^List \d+ images?$")
    # A triangle round the upper left.
    page.get_by_role("button", name="Draw round images").click()
    box = box_of(page.locator("#map-points"))
    corners = [(0.1, 0.05), (0.75, 0.05), (0.1, 0.95), (0.1, 0.3)]
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=12)
    page.mouse.up()
    expect(listed).not_to_have_text(malignant)
    count = int(re.search(r"\d+", text_of(listed, r"^List \d+ image"))[0])
    assert 0 < count < len(filled.state().labels)
    check_usable(page)
    listed.click()
    page.get_by_role("heading", name=f"{count} image").wait_for()
    chips = page.get_by_role("list", name="Filters that are set")
    expect(chips).to_contain_text("drawn on the map")
    expect(chips).to_contain_text("malignant")


def test_what_is_in_view_is_listed_without_a_pointer(tab, address):
    page = tab()
    page.goto(address + MAP)
    drawn_map(page)
    page.locator("#map-points").focus()
    page.keyboard.press("l")
    expect(page.locator("#map-list")).to_have_text("List 518 images")
    for _ in range(3):
        page.keyboard.press("+")
    page.keyboard.press("l")
    expect(page.locator("#map-list")).not_to_have_text("List 518 images")
    inside = text_of(page.locator("#map-list"), r"^List \d+ images?$")
    assert 0 < int(re.search(r"\d+", inside)[0]) < 518
    expect(page.locator("#map-said")).to_have_text(inside)
    page.get_by_role("button", name="All images again").click()
    expect(page.locator("#map-list")).to_have_text("List all images")


def tick(page, task):
    """Tick the image of a task of the queue."""
    name = f"Tick the image of Task {task['data']['cdsel_item']}"
    page.get_by_role("checkbox", name=name, exact=True).check()


@pytest.mark.slow
def test_an_excluded_image_leaves_the_queue_and_one_put_first_is_next(tab, studio, tmp_path):
    """On a real Label Studio: what is clicked in the gallery is what its annotators get."""
    pool = make_pool(studio)
    desk = Desk(studio, pool, tmp_path, random_share=0.0, refill_at=0.0)
    desk.go_on()
    before = desk.tasks()
    assert len(before) == 6
    server = ServerSettings(data_dir=tmp_path, label_studio_url=studio.url, label_studio_api_key=studio.token)
    out, busy = before[0], before[1]
    desk.client.send("POST", f"/api/tasks/{busy['id']}/drafts", {"result": []})
    free = next(
        row.task for row in desk.state().items if row.id not in {one.item for one in desk.state().selections}
    )
    with served(server, desk.store) as address, closing(tab()) as page:
        home = f"{address}/projects/{pool}/gallery"
        page.goto(home + "?state=with+the+annotators")
        for task in (out, busy):
            tick(page, task)
        page.get_by_role("button", name="Exclude", exact=True).click()
        page.get_by_text("2 images are excluded and will not be selected.").wait_for()
        page.goto(f"{home}?search={free}")
        page.locator(".gallery a").first.click()
        page.get_by_role("button", name="Put first").click()
        page.get_by_text("1 image is put first").wait_for()
        state = desk.go_on()
        left = [task["id"] for task in desk.tasks()]
        assert out["id"] not in left
        assert busy["id"] in left, "somebody is at it"
        assert "an administrator excluded it" in desk.said("TASKS_WITHDRAWN")[0]
        for task in desk.tasks(answered=False):
            desk.submit(task)
        state = desk.go_on()
        queue = state.project.queue_project
        following = desk.client.next_task(queue)
        assert following["data"]["cdsel_item"] == free
        assert following["data"]["cdsel_reason"] == "Put first by an administrator."
        assert out["data"]["cdsel_item"] not in {task["data"]["cdsel_item"] for task in desk.tasks()}
        # The exclusion undone, it is selected still, and comes back.
        page.goto(home + "?directive=excluded")
        tick(page, out)
        page.get_by_role("button", name="Neither").click()
        page.get_by_text("1 image is selected as all others again.").wait_for()
        state = desk.go_on()
        assert out["data"]["cdsel_item"] in {task["data"]["cdsel_item"] for task in desk.tasks()}
        assert len(state.used) <= state.settings.budget
