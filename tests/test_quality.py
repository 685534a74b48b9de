"""The checks that keep the house in order: lint, format, types, one direction of imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
_AT_ONCE = """
all_inner_texts all_text_contents bounding_box count evaluate evaluate_all get_attribute inner_html inner_text
input_value is_checked is_disabled is_editable is_enabled is_hidden is_visible query_selector text_content title
"""
AT_ONCE = frozenset(_AT_ONCE.split())
"""Methods of Playwright that give what a page shows at this moment, which is not yet what it will show."""
ASKS = ("Client", "AsyncClient", "get", "post", "put", "patch", "delete", "request", "stream")
MAY_READ = ("browsing.py", "benchmarks")
"""What waits in one place for all tests, and what measures."""


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy", "cdsel_backend"],
        ["lint-imports"],
        ["codespell"],
    ],
    ids=lambda command: " ".join(command),
)
def test_the_house_is_in_order(command):
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def test_every_benchmark_can_be_imported():
    folder = ROOT / "tests" / "benchmarks"
    names = ", ".join(sorted(file.stem for file in folder.glob("*.py")))
    paths = [ROOT / "tests", ROOT / "tests" / "reliability", folder]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path += {[str(path) for path in paths]}; import {names}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def reads_at_once(source: str) -> list[str]:
    """What of a page is read without waiting for it, as 'LINE: CODE'."""
    found = []

    def visit(node: ast.AST, used: bool) -> None:
        """`used`: something is made of what the expression gives."""
        if isinstance(node, ast.Lambda):
            return  # asked until it is true, by `eventually`
        method = node.func if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else None
        called = method is not None and method.attr in AT_ONCE and (method.attr != "count" or not node.args)
        address = isinstance(node, ast.Attribute) and node.attr == "url" and ast.unparse(node.value) == "page"
        if used and (called or address):
            found.append(f"{node.lineno}: {ast.unparse(node)}")
        for part in ast.iter_child_nodes(node):
            visit(part, not isinstance(node, ast.Expr))

    visit(ast.parse(source), True)
    return found


def impatient(source: str) -> list[int]:
    """The lines that ask a server with httpx's own limit of five seconds."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {f"httpx.{name}" for name in ASKS}
        and not {"timeout", "transport"}.intersection(option.arg for option in node.keywords if option.arg)
    ]


def test_every_question_to_a_server_says_how_long_it_waits():
    """A machine that runs four tests, two Label Studios and a browser may need more than five seconds for a page."""
    found = {
        path.name: impatient(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("*.py")
    }
    assert {name: lines for name, lines in found.items() if lines} == {}, "say timeout=60"
    assert impatient("httpx.get(url)") == [1]


def test_whatever_a_test_says_about_a_page_it_waits_for():
    """Right after a click a page still is what it was, or is gone: such a test fails on a busy machine only."""
    looking = [
        path
        for path in (ROOT / "tests").rglob("*.py")
        if any(word in path.read_text(encoding="utf-8") for word in ("playwright", "chromium", "tab()"))
        and not set(path.parts).intersection(MAY_READ)
    ]
    assert len(looking) > 5
    found = {path.name: reads_at_once(path.read_text(encoding="utf-8")) for path in looking}
    advice = "wait with playwright's `expect`, or with what tests/browsing.py has"
    assert {name: lines for name, lines in found.items() if lines} == {}, advice
    assert reads_at_once("page.click('a')\nassert page.get_by_text('b').is_visible()")
    assert reads_at_once("assert page.url == there") == ["1: page.url"]
    assert not reads_at_once("eventually(lambda: page.evaluate('1'))\npage.evaluate('scrollTo(0, 0)')")
