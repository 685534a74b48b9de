"""SIGKILL at instrumented points of the worker; `kills.py` says which, and runs a thousand of them."""

from __future__ import annotations

import pytest
from kills import run


def check(tally, least):
    assert not tally.words, tally.words
    assert sum(tally.tried.values()) >= least


@pytest.mark.long
def test_a_few_kills():
    check(run(5, per_run=5, seed=1), 5)


@pytest.mark.slow
def test_a_hundred_kills():
    check(run(100), 100)
