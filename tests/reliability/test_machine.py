"""A state machine of faults: `machine.py` says which, and takes 3,000 steps of them."""

from __future__ import annotations

import pytest
from machine import run


@pytest.mark.slow
def test_a_tenth_of_the_machine():
    run(6, seconds=40)


@pytest.mark.slow
def test_the_machine():
    run(60, seed=0)
