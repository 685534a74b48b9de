"""The pages in a real browser: pictures of each, what an admin does on them, accessibility, the map at full size.

Screenshots go to the folder that CDSEL_SCREENSHOTS names, or to pytest's own.
"""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from backend import eventually
from browsing import (
    LOOKS,
    WIDE,
    box_of,
    check_long_words,
    check_sound,
    check_steady,
    check_usable,
    drawn_map,
    quickest,
    settled,
    text_of,
    wait_until,
)
from conftest import DESKTOP, LABEL_CONFIG, UNKNOWN, served
from filled import POOL, STUDIO_URL
from playwright.sync_api import expect
from sqlalchemy import insert

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.selection import describe
from cdsel_backend.server.app import create_app
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import PoolTask, Selected, State, Store, schema
from cdsel_backend.store.activity import Activity, Step
from cdsel_backend.store.database import writing

PAGES = (
    "overview",
    "confounders",
    "map",
    "gallery",
    "queue",
    "models",
    "settings",
    "activity",
)  # of a project
EVERY = {
    "projects": "/projects",
    "overview": f"/projects/{POOL}",
    **{name: f"/projects/{POOL}/{name}" for name in PAGES[1:]},
    "help": "/help",
    "error": UNKNOWN,
}
PICTURES = {  # page -> the last element on its picture
    "overview": "#strip",
    "confounders": "#mosaic",
    "map": "#map",
    "gallery": "#images li:nth-child(21)",
    "queue": "#queue-list li:nth-child(12)",
    "models": "#worth",
}
LARGE = 100_000


@pytest.mark.pictures
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", EVERY)
def test_every_page_is_sound_on_desktop_and_phone_by_day_and_in_the_dark(
    tab, address, screenshots, picture, name, look
):
    page = tab(**LOOKS[look])
    page.goto(address + EVERY[name])
    settled(page, name)
    if look == "desktop" and name in PICTURES:
        box = box_of(page.locator(PICTURES[name]))
        picture(page, name, (0, 0, DESKTOP["width"], round(box["y"] + box["height"]) + 20))
    check_steady(page)
    check_sound(page, screenshots / f"{name}-{look}")
    if look == "phone":
        page.set_viewport_size({"width": 640, "height": 400})  # a desktop at 200 %
        wait_until(page, f"Math.max(0, {WIDE})", 0)
        page.set_viewport_size(LOOKS[look]["viewport"])
        check_long_words(page)


@pytest.mark.pictures
@pytest.mark.parametrize("look", LOOKS)
def test_the_login_is_sound_and_says_what_was_wrong(serve, tab, filled, screenshots, look):
    server = filled.server.model_copy(
        update={"basic_auth_user": "studio", "basic_auth_pass": "correct horse"}
    )
    address = serve(server, filled.store)
    page = tab(**LOOKS[look])
    page.goto(address + EVERY["queue"])
    check_sound(page, screenshots / f"login-{look}")
    page.get_by_label("User").fill("studio")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("This user and password are not right.")).to_be_visible()
    check_sound(page)
    page.get_by_label("User").fill("studio")
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(address + EVERY["queue"])
    settled(page, "queue")
    page.screenshot(path=screenshots / f"signed-in-{look}.png")


def test_no_page_is_forgotten(filled):
    """Every route that answers with a page is among those that are looked at above."""
    app = create_app(filled.server, filled.store)
    client = app.test_client()
    paths = {
        rule.rule.replace("<int:pool_project>", str(POOL))
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("pages.") and "GET" in rule.methods
    }
    answers = {path: client.get(path) for path in paths if "<" not in path}
    # Without a password to ask for, /login leads on to the projects.
    found = {path for path, one in answers.items() if one.status_code == 200 and one.mimetype == "text/html"}
    assert found == set(EVERY.values()) - {EVERY["error"]}


@pytest.mark.parametrize("name", ["projects", *PAGES])
def test_help_on_every_page_leads_to_the_section_about_it(tab, address, name):
    page = tab()
    page.goto(address + EVERY[name])
    page.get_by_role("link", name="Help with this page").click()
    page.get_by_role("navigation", name="Contents").wait_for()
    expect(page).to_have_url(re.compile("/help#."))
    expect(page.locator("article :target")).to_be_visible()


@pytest.mark.parametrize("look", LOOKS)
def test_empty_states_are_pages_too(store, serve, tab, screenshots, tmp_path, look):
    address = serve(ServerSettings(data_dir=tmp_path, label_studio_url=STUDIO_URL), store)
    page = tab(**LOOKS[look])
    page.goto(address + EVERY["projects"])
    check_sound(page, screenshots / f"projects-empty-{look}")
    project = store.connect_project(STUDIO_URL, POOL, label_config=LABEL_CONFIG, title="Just connected")
    store.sync_pool(project, [PoolTask(n, {"image": "/x.jpg"}, "/x.jpg") for n in range(40)])
    store.update_project(project, activity=Activity(Step.EMBEDDING, 12, 40).to_json())
    for name in PAGES:
        page.goto(address + EVERY[name])
        check_sound(page, screenshots / f"{name}-empty-{look}")
    expect(page.get_by_text("Embedding images: 12 of 40")).to_be_visible()


@pytest.mark.parametrize("look", LOOKS)
def test_long_names_do_not_run_over_what_stands_beside_them(store, serve, tab, tmp_path, screenshots, look):
    email = f"{'a.long.name' * 3}@department.of.a.hospital.example.org"
    address = serve(ServerSettings(data_dir=tmp_path, label_studio_url=STUDIO_URL), store)
    project = store.connect_project(
        STUDIO_URL, POOL, label_config=LABEL_CONFIG, layers={"dashboard": {"annotators": {email: 9}}}
    )
    store.set_annotators(project, {email: {"user": 1, "queue_project": 21}})
    store.sync_pool(project, [PoolTask(n, {"image": "/x.jpg"}, "/x.jpg") for n in range(6)])
    items = [row.id for row in store.items(project)]
    chosen = [Selected(item, item, 1.0, "Drawn at random from all images.", {}) for item in items]
    store.add_round(project, 1, chosen, strategy="random", seed=0, model_version=None)
    store.mark_selections(project, {item: {"queue_task": 90 + item, "annotator": email} for item in items})
    page = tab(**LOOKS[look])
    page.goto(address + EVERY["queue"])
    inside = (
        "[...document.querySelectorAll('.queue > li')].every((one) => one.scrollWidth <= one.clientWidth)"
    )
    wait_until(page, inside)
    check_sound(page, screenshots / f"queue-annotators-{look}")
    store.note_problems(project, "answers", ["one is wrong", f"so is `{'W' * 300}`"])
    page.goto(address + EVERY["overview"])
    dismiss = page.get_by_role("button", name="Dismiss").first
    assert box_of(dismiss)["height"] < 50, "its one word is on one line"
    check_long_words(page)


def test_one_of_many_variables_is_found_by_typing(store, serve, tab, tmp_path, screenshots):
    address = serve(ServerSettings(data_dir=tmp_path, label_studio_url=STUDIO_URL), store)
    many = [f"lab_{n}" for n in range(300)]
    project = store.connect_project(
        STUDIO_URL, POOL, label_config=LABEL_CONFIG, layers={"dashboard": {"ignore": many}}
    )
    page = tab(**LOOKS["phone"])
    page.goto(address + EVERY["settings"])
    check_sound(page, screenshots / "settings-many-variables")
    page.get_by_label("Find among these 300 names").fill(" LAB_20")
    expect(page.get_by_text("11 shown")).to_be_visible()
    page.keyboard.press("Enter")  # which must not save
    page.get_by_label("lab_201", exact=True).uncheck()
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("Saved: ignore").wait_for()
    assert set(many) - set(State(store, project).settings.ignore) == {"lab_201"}


def test_an_unknown_project_is_explained(tab, address):
    page = tab()
    page.goto(address + EVERY["error"])
    why = re.compile("^Project 99 of Label Studio is not connected")
    expect(page.get_by_role("alert")).to_have_text(why, use_inner_text=True)


def test_an_admin_changes_the_budget_by_keyboard_and_takes_it_back(tab, address, filled, screenshots):
    page = tab()
    page.goto(address + EVERY["overview"])
    before = filled.state().settings.budget
    page.get_by_label("Budget", exact=True).focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("480")
    page.keyboard.press("Enter")
    page.get_by_text("Saved: budget 480.").wait_for()
    assert filled.state().settings.budget == 480
    expect(page.locator("#budget")).to_contain_text("labelled of a budget of 480")
    page.goto(address + EVERY["settings"])
    page.screenshot(path=screenshots / "settings-changed.png", full_page=True)
    expect(page.locator(".from .accent")).to_have_text("dashboard")
    page.goto(address + EVERY["overview"])
    page.get_by_role("button", name=f"Undo: budget back to {before}").click()
    page.get_by_text(f"The budget is {before} again").wait_for()
    assert filled.state().settings.budget == before
    assert filled.state().resolved.sources["budget"] == "extra parameters"


def test_a_strategy_is_explained_as_soon_as_it_is_chosen(tab, address):
    page = tab()
    page.goto(address + EVERY["settings"])
    page.locator("details").evaluate_all("all => all.forEach((part) => (part.open = true))")
    page.get_by_label("Strategy", exact=True).select_option("margin")
    expect(page.get_by_text(describe("margin"))).to_be_visible()
    expect(page.get_by_text(describe("confounder_aware"))).to_be_hidden()


@pytest.mark.parametrize("name", EVERY)
def test_whatever_has_the_focus_shows_it(tab, address, name):
    """Each stop of the tab key has an outline, and no box around it cuts that off."""
    page = tab()
    page.goto(address + EVERY[name])
    settled(page, name)
    hidden = """(() => {
      const one = document.activeElement;
      if (one === document.body) return '';  // past the last
      const style = getComputedStyle(one), box = one.getBoundingClientRect();
      const reach = parseFloat(style.outlineWidth) + parseFloat(style.outlineOffset);
      if (style.outlineStyle === 'none') return one.outerHTML;
      for (let around = one.parentElement; around !== document.body; around = around.parentElement) {
        if (getComputedStyle(around).overflowX === 'visible') continue;
        const edge = around.getBoundingClientRect();
        if (box.top - reach < edge.top - 1 || box.bottom + reach > edge.bottom + 1) return one.outerHTML;
      }
      return '';
    })()"""
    for _ in range(30):
        page.keyboard.press("Tab")
        wait_until(page, hidden, "")


@pytest.mark.parametrize(("form", "typed"), [("settings", "99999999999"), ("overview", "12,5")])
def test_a_refused_value_is_shown_where_it_was_typed(chromium, address, screenshots, form, typed):
    page = chromium.new_page()  # the console rightly notes the 422
    page.goto(address + EVERY[form])
    page.get_by_label("Budget", exact=True).press("Control+A")
    page.get_by_label("Budget", exact=True).press_sequentially(typed)
    with page.expect_response(lambda one: one.request.method == "POST") as answer:
        page.get_by_role("button", name="Save", exact=True).click()
    assert answer.value.status == 422
    page.wait_for_selector("#e-budget")
    page.screenshot(path=screenshots / "settings-refused.png")
    expect(page.get_by_label("Budget", exact=True)).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Budget", exact=True)).to_have_value(typed)
    page.close()


def test_the_page_follows_what_happens_without_a_reload(tab, address, filled):
    page = tab()
    page.goto(address + EVERY["overview"])
    wait_until(page, "typeof seen === 'string'")
    page.get_by_label("Round size").fill("33")  # being typed: must survive
    activity = filled.state().project.activity
    filled.store.update_project(filled.project, activity=Activity(Step.TRAINING, 3, 9).to_json())
    try:
        page.evaluate("look()")
        expect(page.get_by_text("Training: 3 of 9")).to_be_visible()
        expect(page.get_by_label("Round size")).to_have_value("33")
    finally:
        filled.store.update_project(filled.project, activity=activity.to_json())


def test_the_map_answers_to_mouse_and_keyboard(tab, address, screenshots):
    page = tab()
    page.goto(address + EVERY["map"])
    drawn_map(page)
    page.locator("#map-points").focus()
    page.keyboard.press("m")
    said = page.locator("#map-said")
    first = text_of(said, r"^Task \d+: site ")
    page.keyboard.press("ArrowRight")
    expect(said).not_to_have_text(first)
    link = page.get_by_role("link", name="in Label Studio").and_(page.locator("#map-tip a"))
    there = f"{STUDIO_URL}/projects/{POOL}/data?task="
    expect(link).to_have_attribute("href", re.compile(f"^{re.escape(there)}"))
    wait_until(page, "document.querySelector('#map-tip img').naturalWidth > 1")
    page.screenshot(path=screenshots / "map-pointed.png")
    check_usable(page)
    page.keyboard.press("Escape")
    expect(page.locator("#map-tip")).to_be_hidden()
    page.get_by_label("Colour by").select_option(label="label")
    page.get_by_role("button", name="malignant").click()
    expect(page.get_by_role("button", name="malignant")).to_have_attribute("aria-pressed", "true")
    before = drawn_map(page)
    page.get_by_role("button", name="Closer").click()
    wait_until(page, f"document.querySelector('#map-points').dataset.drawn > {before}")
    page.screenshot(path=screenshots / "map-malignant.png")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save picture").click()
    assert saved.value.suggested_filename == "map label.png"
    saved.value.save_as(screenshots / "map-saved.png")


def test_a_phone_has_room_for_the_dots_and_for_the_text(tab, address):
    page = tab(**LOOKS["phone"])
    page.goto(address + EVERY["map"])
    drawn_map(page)
    dots, buttons = box_of(page.locator("#map-points")), box_of(page.locator(".zoom"))
    assert dots["height"] > 250
    assert dots["y"] + dots["height"] <= buttons["y"], "the buttons lie on the dots"
    page.goto(address + EVERY["help"])
    contents = page.locator(".contents details")
    expect(contents).to_have_js_property("open", False)
    contents.locator("summary").click()
    contents.get_by_role("link", name="The map").wait_for()


def test_a_picture_is_saved_as_a_drawing_of_its_own(tab, address, tmp_path):
    page = tab()
    page.goto(address + EVERY["confounders"])
    page.get_by_role("heading", name="How strong: figures and tests").click()  # folded
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save picture encoded").click()
    saved.value.save_as(tmp_path / "encoded.svg")
    text = (tmp_path / "encoded.svg").read_text(encoding="utf-8")
    assert "<style" in text
    assert "prefers-color-scheme" not in text  # a saved picture is light
    page.goto(
        (tmp_path / "encoded.svg").as_uri()
    )  # XML that does not parse would be a page without a drawing
    expect(page.locator("svg rect.bar")).to_have_count(3)
    expect(page.locator("rect.bar").first).not_to_have_css("fill", "rgb(0, 0, 0)")


def test_a_saved_picture_carries_the_legend_that_stands_beside_it(tab, address, tmp_path):
    page = tab()
    page.goto(address + EVERY["confounders"])
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save picture mosaic Labelled").click()
    saved.value.save_as(tmp_path / "mosaic.svg")
    page.goto((tmp_path / "mosaic.svg").as_uri())
    for name, tone in (("benign", "first"), ("malignant", "second")):
        entry = page.locator(f"g.{tone}:has(> text)").filter(has_text=re.compile(f"^{name}$")).locator("rect")
        assert box_of(entry)["y"] >= 0
        expect(entry).not_to_have_css("fill", "rgb(0, 0, 0)")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A pool of 100,000 embedded images: rows as the loop leaves them, vectors drawn in few dimensions."""
    folder = tmp_path_factory.mktemp("large")
    server = ServerSettings(
        data_dir=folder, label_studio_url=STUDIO_URL, label_studio_api_key="token", image_hosts="127.0.0.1"
    )
    store = Store.open(server)
    project = store.connect_project(
        STUDIO_URL, POOL, title="A large pool", label_config=LABEL_CONFIG, backbone="b"
    )
    rng = np.random.default_rng(0)
    sites = np.array(["north", "east", "south", "west"])[rng.integers(4, size=LARGE)]
    vectors = rng.normal(size=(LARGE, 16)).astype("<f2")
    vectors[:, 0] += np.unique(sites, return_inverse=True)[1] * 2
    items = [
        {
            "project": project,
            "task": n,
            "image": f"/{n}.jpg",
            "data": {"image": f"/{n}.jpg", "site": str(sites[n]), "age": n % 90},
        }
        for n in range(LARGE)
    ]
    with writing(store.engine) as connection:
        connection.execute(insert(schema.items), items)
    ids = [row.id for row in store.items(project)]
    store.add_vectors("b", [(item, f"{n:064d}", vectors[n]) for n, item in enumerate(ids)])
    store.update_project(project, pool_version=1)
    with served(server, store) as address:
        yield address, State(store, project)
    store.close()


@pytest.mark.slow
def test_the_map_draws_a_hundred_thousand_images_in_three_seconds(tab, large, screenshots):
    address, _ = large
    page = tab()
    page.goto(address + EVERY["map"])  # the first look places the images; every later one is a look only
    drawn_map(page)

    def look():
        page.reload()
        return drawn_map(page)

    drawn = quickest(look, 3000)
    page.screenshot(path=screenshots / "map-large.png")
    assert drawn < 3000, f"{drawn:.0f} ms from the navigation to the drawn map"

    def zoom():
        start = time.perf_counter()
        page.evaluate(
            "async () => { for (const by of ['1.5', '1.5', '0.667', '0.667']) {"
            'document.querySelector(`[data-zoom="${by}"]`).click();'
            "await new Promise(requestAnimationFrame); await new Promise(requestAnimationFrame); } }"
        )
        return (time.perf_counter() - start) / 4

    assert quickest(zoom, 0.5) < 0.5, "zooming is not smooth"


@pytest.mark.slow
def test_a_large_pool_answers_its_live_questions_quickly(large):
    import httpx

    address, _ = large
    for path, seconds in (("/status.json", 2.0), ("", 2.0), ("/queue", 2.0), ("/settings", 2.0)):

        def ask(path=path):
            start = time.perf_counter()
            assert httpx.get(f"{address}/projects/{POOL}{path}", timeout=60).status_code == 200
            return time.perf_counter() - start

        assert quickest(ask, seconds) < seconds, path


def test_the_loop_obeys_what_the_dashboard_says(tab, studio, pool_project, backend, screenshots):
    """On a real Label Studio: a budget typed here is spent, and the thumbnails come from its images."""
    LabelStudio(studio.url, studio.token).connect_backend(
        pool_project.id, backend.url, title="cdsel", extra_params='{"budget": 3, "round_size": 3}'
    )

    def pushed(count):
        def ask():
            return sum(one["pushed"] for one in backend.status(pool_project.id).get("rounds", ())) >= count

        return eventually(ask, f"{count} images were never pushed", details=backend.tail)

    pushed(3)
    page = tab()
    page.goto(f"{backend.url}/projects/{pool_project.id}")
    page.get_by_text("labelled of a budget of 3").wait_for()
    expect(page.get_by_role("button", name="Select next round now")).to_be_disabled()
    page.get_by_label("Budget", exact=True).fill("5")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Saved: budget 5.").wait_for()
    page.get_by_role("button", name="Select next round now").click()
    page.get_by_text("The next round is asked for.").wait_for()
    pushed(5)
    page.locator("#budget").get_by_text("5 open").wait_for()  # without a reload
    page.goto(f"{backend.url}/projects/{pool_project.id}/queue")
    settled(page, "queue")
    wait_until(page, "[...document.querySelectorAll('.thumb')].every((one) => one.naturalWidth > 96)")
    page.screenshot(path=screenshots / "queue-real.png", full_page=True)
    status = backend.status(pool_project.id)
    assert (status["open"], status["left"], status["sources"]["budget"]) == (5, 0, "dashboard")
