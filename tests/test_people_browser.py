"""What an annotator and an admin meet in a real browser on a real Label Studio: the queue, the class, the budget.

An own labeling config shows the place in the queue; a class that is not learned is no label; the queue is never empty
while budget is left; and where the dashboard and Label Studio differ on the budget, one click takes Label Studio's.
"""

from __future__ import annotations

import re

import pytest
from backend import eventually
from browsing import check_sound, new_text
from conftest import DESKTOP
from playwright.sync_api import expect
from test_browser_label_studio import DONE, SLOW, log_in

from cdsel_backend.labelstudio.client import LabelStudio

BUDGET, ROUND = 7, 4
UNSURE = "cannot tell"
NOT_NEUTRAL = re.compile("riverside|hillside|confounder")
OWN_CONFIG = (
    '<View><Image name="image" value="$image" maxheight="300px"/>'
    '<Choices name="finding" toName="image" choice="single-radio" showInLine="true">'
    f'<Choice value="benign"/><Choice value="malignant"/><Choice value="{UNSURE}"/></Choices></View>'
)


@pytest.mark.slow
@pytest.mark.usefixtures("browser")
def test_an_annotator_is_never_out_of_work_and_an_admin_sees_one_budget(
    chromium,
    studio,
    pool_project,
    backend,
    screenshots,
):
    client = LabelStudio(studio.url, studio.token)
    client.update_project(pool_project.id, label_config=OWN_CONFIG)
    context = chromium.new_context(viewport=DESKTOP)

    def status():
        return backend.status(pool_project.id)

    def known():
        return (found := status())["labelled"] + found["undecided"]

    client.connect_backend(
        pool_project.id,
        backend.url,
        title="cdsel",
        extra_params=f'{{"budget": {BUDGET}, "round_size": {ROUND}, "refill_at": 0.5, "ignore_classes": ["{UNSURE}"]}}',
    )
    eventually(lambda: status().get("open"), "no queue appeared", details=backend.tail)
    queue = status()["queue_project"]

    page = context.new_page()
    log_in(page, studio.url, studio.email, studio.password)
    page.goto(f"{studio.url}/projects/{queue}/data")
    page.get_by_role("button", name=re.compile("Label All Tasks")).first.click(timeout=SLOW)
    seen: list[str] = []
    place = page.get_by_text(re.compile(r"^\d+ of \d+$")).first
    for number in range(1, BUDGET + 1):
        seen.append(new_text(place, seen))  # or it says that there is no work, after so many of the budget
        # However slow the machine: the next images come while this one is still open.
        eventually(
            lambda: len(seen) == BUDGET or (known() == len(seen) - 1 and status()["open"] > 1),
            f"nothing follows image {number} while it is open",
            details=backend.tail,
        )
        # The reason is neutral, and no answer is filled in by a model that is not sure.
        expect(page.locator("body")).not_to_contain_text(NOT_NEUTRAL, use_inner_text=True)
        expect(page.get_by_role("radio", checked=True)).to_have_count(0)
        answer = UNSURE if number == 1 else ("benign", "malignant")[number % 2]
        if number == 1:
            page.screenshot(path=screenshots / "studio-own-config.png")
        page.get_by_role("radio", name=re.compile(answer)).first.check(timeout=SLOW)
        page.get_by_role("button", name=re.compile("Submit")).first.click(timeout=SLOW)
    assert seen == [f"{number} of {BUDGET}" for number in range(1, BUDGET + 1)]
    page.get_by_text(DONE).first.wait_for(timeout=SLOW)

    # The class that is not learned uses budget, and is no label.
    eventually(lambda: status().get("labelled") == BUDGET - 1, "labels are missing", details=backend.tail)
    found = status()
    assert (found["undecided"], found["left"], found["open"]) == (1, 0, 0)
    assert found["seconds_per_image"] > 0, "Label Studio's times are not known"

    # 9, set here; Label Studio says 7.
    page.goto(f"{backend.url}/projects/{pool_project.id}")
    taught = re.compile(rf"benign, malignant; not {UNSURE}\.\s*$")
    expect(page.locator("#question")).to_have_text(taught, use_inner_text=True)
    page.get_by_label("Budget", exact=True).fill("9")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("Saved: budget 9.").wait_for()
    expect(page.locator("#said-budget")).to_contain_text(f"9, set here; Label Studio says {BUDGET}")
    page.screenshot(path=screenshots / "overview-two-budgets.png", full_page=True)
    check_sound(page)
    page.get_by_role("button", name=f"Use {BUDGET} for budget").click()
    page.get_by_text(f"Budget is {BUDGET} again").wait_for()
    expect(page.locator("#said-budget")).to_have_count(0)
    page.get_by_role("button", name="Undo: budget back to 9").wait_for()
    page.goto(f"{backend.url}/projects/{pool_project.id}/activity")
    for event in ("Images were pushed into the queue", "Label Studio: an annotation was submitted"):
        expect(page.locator("#events").get_by_text(event).first).to_be_visible()
    expect(page.locator("#worker").get_by_text("Alive")).to_have_count(1)
    page.screenshot(path=screenshots / "activity-real.png", full_page=True)
    check_sound(page)
    context.close()
