"""How tests look at pages in a browser: whatever they say about a page, they wait for.

A click, a key or another address takes effect some time later, and on a busy machine much later. So a test never reads
a page at once: it says what it expects with Playwright's `expect` or with `wait_until`, or takes a value from one of
the functions here. `tests/test_quality.py` refuses anything else.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from conftest import DESKTOP
from playwright.sync_api import Error, FloatRect, Locator, Page, expect

PATIENCE = 60.0
"""Seconds until what was expected of a page counts as missing; nobody waits so long but for a fault."""
LOOKS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": DESKTOP},
    "phone": {"viewport": {"width": 390, "height": 844}},
}
SCHEMES = {"light": (), "dark": ("color-contrast", "link-in-text-block")}
"""The schemes of colours, and which of axe's rules see a difference between them; () for all."""
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
SHIFTS = """new Promise((done) => {
  let sum = 0;
  const add = (list) => list.getEntries().forEach((one) => { if (!one.hadRecentInput) sum += one.value; });
  new PerformanceObserver(add).observe({ type: 'layout-shift', buffered: true });
  setTimeout(() => done(sum), 50);
})"""
UNSEEN = """(() => {
  const left = [...document.querySelectorAll('img[data-src]')].find(
    (one) => (!one.complete || one.src.startsWith('data:')) && one.checkVisibility());
  if (left) left.scrollIntoView({ block: 'center' });
  return left ? left.dataset.src : '';
})()"""
LONG_WORDS = """(() => {
  document.querySelectorAll('details').forEach((one) => { one.open = true; });
  const every = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), texts = [];
  while (every.nextNode()) texts.push(every.currentNode);
  for (const text of texts) {
    const around = text.parentElement;
    if (text.data.trim() && !around.closest('script, style, svg, .nowrap, .bar-row .n')) text.data = 'W'.repeat(300);
  }
})()"""
expect.set_options(timeout=PATIENCE * 1000)


def wait_until(page: Page, expression: str, value: object = True) -> None:
    """Wait until JavaScript gives `value`.

    Playwright's own `wait_for_function` is an eval, which the pages' policy forbids.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            found = page.evaluate(expression)
        except Error as fault:  # the page was left for another meanwhile
            found = fault
        if found == value:
            return
        assert time.monotonic() < deadline, f"{page.url}: {expression} is not {value!r} but {found!r}"
        page.wait_for_timeout(50)


def text_of(shown: Locator, pattern: str) -> str:
    """The text of an element, as soon as `pattern` is found in it."""
    expect(shown).to_have_text(re.compile(pattern), use_inner_text=True)
    return shown.inner_text()


def new_text(shown: Locator, seen: list[str]) -> str:
    """The text of an element, as soon as it is none of those seen."""
    deadline = time.monotonic() + 2 * PATIENCE
    while not (shown.is_visible() and (found := shown.inner_text()) not in seen):
        left = time.monotonic() < deadline
        assert left, f"nothing new after {seen}:\n{shown.page.evaluate('document.body.innerText')[:2000]}"
        shown.page.wait_for_timeout(100)
    return found


def box_of(shown: Locator) -> FloatRect:
    """Where an element is in the window, in pixels of CSS."""
    expect(shown).to_be_visible()
    box = shown.bounding_box()
    assert box is not None
    return box


def drawn_map(page: Page) -> float:
    """When the map of a page was drawn the last time, in milliseconds from the navigation on."""
    page.wait_for_selector("#map-points[data-drawn]", timeout=PATIENCE * 1000)
    return float(page.locator("#map-points").get_attribute("data-drawn") or "nan")


def quickest(measure: Callable[[], float], limit: float) -> float:
    """Measure until it is below `limit`, ten times at most: other programs use the machine, too. Returns the best."""
    best = float("inf")
    for _ in range(10):
        best = min(best, measure())
        if best < limit:
            break
    return best


def settled(page: Page, name: str) -> None:
    """Wait until the page shows all it will show."""
    page.wait_for_load_state()
    if name == "map" and page.locator("#map").count():
        drawn_map(page)
    wait_until(page, UNSEEN, "")  # thumbnails are fetched when they come into view
    for image in page.locator("article img").all():  # the help's, which are lazy
        image.scroll_into_view_if_needed()
    wait_until(page, "[...document.querySelectorAll('article img')].every((one) => one.naturalWidth > 100)")
    page.evaluate("scrollTo(0, 0)")


def check_long_words(page: Page) -> None:
    """Whatever a name, value or message is: nothing scrolls sideways, though each text were one word of 300 letters.

    What never breaks (`nowrap`) are numbers and times.
    """
    page.evaluate(LONG_WORDS)
    wait_until(page, f"Math.max(0, {WIDE})", 0)


def check_steady(page: Page) -> None:
    """Nothing moved while the page was made."""
    assert page.evaluate(SHIFTS) < 0.02, page.url


def check_usable(page: Page, rules: Sequence[str] = ()) -> None:
    """Everybody can use it: axe finds nothing serious, by these of its rules or by all."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    options = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else None
    for attempt in range(3):
        faults = [
            (one["id"], one["nodes"][0]["html"][:200])
            for one in axe.Axe().run(page, options=options).response["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        if not faults:
            return
        page.wait_for_timeout(500 * (attempt + 1))  # colours may be on their way to others
    raise AssertionError(f"{page.url}: {faults}")


def check_sound(page: Page, picture: object = None) -> None:
    """Nothing scrolls sideways, and everybody can use it, by day and in the dark.

    `picture`: the start of the path of the pictures that are taken of it, where somebody wants to look at them: that
    takes as long as all the rest.
    """
    page.wait_for_load_state()
    wait_until(page, f"Math.max(0, {WIDE})", 0)  # pixels that it scrolls sideways
    for scheme, rules in SCHEMES.items():
        page.emulate_media(color_scheme=scheme)
        if picture is not None and "CDSEL_SCREENSHOTS" in os.environ:
            page.screenshot(path=f"{picture}-{scheme}.png", full_page=True)
        check_usable(page, rules)
    page.emulate_media(color_scheme="light")
