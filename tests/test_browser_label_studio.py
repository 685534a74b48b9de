"""What an admin and an annotator see and do, in a real browser on a real Label Studio, from connecting to the end.

Screenshots go to the folder that CDSEL_SCREENSHOTS names, or to pytest's own.
"""

from __future__ import annotations

import re

import pytest
from backend import eventually
from browsing import new_text
from conftest import DESKTOP

from cdsel_backend.labelstudio.client import LabelStudio

SLOW = 60_000  # ms: Label Studio's page is large, and the machine may be busy
BUDGET, RAISED = 3, 5
DONE = re.compile("no more tasks|All done|queue is empty", re.I)
EMAIL, PASSWORD = "annotator@example.com", "eyes-on-skin-7"


def log_in(page, address, email, password, *, way="login"):
    page.goto(f"{address}/user/{way}/")
    page.locator("input[name=email]").fill(email)
    page.locator("input[name=password]").fill(password)
    with page.expect_navigation(url=lambda url: "/user/" not in url, timeout=SLOW):
        page.keyboard.press("Enter")


def label_next(page, seen, path):
    """Choose and submit for the image on the screen; returns its place in the queue."""
    place = page.get_by_text(re.compile(r"^\d+ of \d+$")).first
    shown = new_text(place, seen)  # before the click: the next image may be there at once
    page.screenshot(path=path)
    page.get_by_role("radio", name=re.compile("benign")).first.check(timeout=SLOW)
    page.get_by_role("button", name=re.compile("Submit")).first.click(timeout=SLOW)
    return shown


@pytest.mark.pictures
@pytest.mark.usefixtures("browser")
def test_from_the_connection_typed_in_label_studio_to_the_last_label_of_the_budget(
    chromium,
    studio,
    pool_project,
    backend,
    screenshots,
    picture,
):
    complaints = []
    contexts = []

    def tab():
        context = chromium.new_context(viewport=DESKTOP)
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console",
            lambda said: (
                complaints.append(said.text)
                if said.type == "error" and said.location.get("url", "").startswith(backend.url)
                else None
            ),
        )
        return page

    client = LabelStudio(studio.url, studio.token)
    # An admin types the backend's address and the budget in Settings > Model.
    admin = tab()
    log_in(admin, studio.url, studio.email, studio.password)
    admin.goto(f"{studio.url}/projects/{pool_project.id}/settings/ml")
    admin.get_by_role("button", name="Add machine learning model").click(timeout=SLOW)
    admin.locator("input[name=title]").fill("cdsel")
    extra = admin.locator("textarea[name=extra_params]")
    admin.locator("input[name=url]").fill("http://localhost:9090")
    extra.fill('{"budget": 200, "round_size": 20, "group": "patient_id"}')
    admin.wait_for_timeout(1000)  # the form fades in
    picture(admin, "connect", (260, 55, 1020, 715))
    admin.locator("input[name=url]").fill(backend.url)
    extra.fill(f'{{"budget": {BUDGET}, "round_size": 5}}')
    admin.screenshot(path=screenshots / "studio-connect.png")
    admin.get_by_role("button", name="Save machine learning form").click()

    # The queue project appears.
    def status():
        return backend.status(pool_project.id)

    eventually(lambda: status().get("open") == BUDGET, "no queue appeared", details=backend.tail)
    queue = status()["queue_project"]
    assert status()["sources"]["budget"] == "extra parameters"
    admin.goto(f"{studio.url}/projects/")
    admin.get_by_text(re.compile("· queue")).first.wait_for(timeout=SLOW)
    admin.screenshot(path=screenshots / "studio-projects.png")

    # An annotator signs up, opens the queue, and labels all there is.
    annotator = tab()
    log_in(annotator, studio.url, EMAIL, PASSWORD, way="signup")
    places: list[str] = []

    def label_all(until):
        annotator.goto(f"{studio.url}/projects/{queue}/data")
        annotator.get_by_role("button", name=re.compile("Label All Tasks")).first.click(timeout=SLOW)
        while len(places) < until:
            places.append(label_next(annotator, places, screenshots / "studio-annotator.png"))
        annotator.get_by_text(DONE).first.wait_for(timeout=SLOW)
        eventually(lambda: status().get("labelled") == until, "labels are missing", details=backend.tail)

    label_all(BUDGET)
    annotator.screenshot(path=screenshots / "studio-done.png")
    assert status()["open"] == status()["left"] == 0

    # The budget is raised on the dashboard, and obeyed: so many more images, and no more.
    admin.goto(f"{backend.url}/projects/{pool_project.id}")
    admin.get_by_label("Budget", exact=True).fill(str(RAISED))
    admin.get_by_role("button", name="Save", exact=True).click()
    admin.get_by_text(f"Saved: budget {RAISED}.").wait_for()
    eventually(
        lambda: status().get("open") == RAISED - BUDGET, "the budget was not obeyed", details=backend.tail
    )
    admin.close()
    label_all(RAISED)
    assert [place.split()[0] for place in places] == [str(rank) for rank in range(1, RAISED + 1)]

    # Nothing is pushed beyond the budget.
    assert len(list(client.tasks(queue))) == RAISED
    assert status()["left"] == 0
    for context in contexts:
        context.close()
    assert complaints == []
