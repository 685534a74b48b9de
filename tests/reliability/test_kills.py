"""SIGKILL at named points inside the worker's steps; `kills.py` says how, and kills a thousand times."""

from __future__ import annotations

import pytest
from fake_studio import TOKEN, fake_studio
from kills import run


def check(tally, kills):
    assert not tally.sentences, tally.sentences
    assert tally.tried.total() == kills


@pytest.mark.long
@pytest.mark.parametrize("kills", [6, pytest.param(30, marks=pytest.mark.slow)])
def test_kills_at_named_points(kills):
    with fake_studio() as studio:
        check(run(kills, studio.url, TOKEN), kills)


@pytest.mark.slow
def test_ten_kills_on_label_studio(studio):
    check(run(10, studio.url, studio.token, seed=1), 10)
