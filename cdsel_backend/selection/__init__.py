"""Which images to label next: strategies, coverage, budget allocation, reasons.

A strategy is one function in one file of `methods/`; `registry.py` says what it must offer.
"""

from cdsel_backend.selection.pictures import Pictures
from cdsel_backend.selection.problem import Ji2025Options, Problem, SelectionOptions, problem_for
from cdsel_backend.selection.reasons import (
    PUT_FIRST,
    Reason,
    Selection,
    neutral_sentence,
    sentence_without_label,
)
from cdsel_backend.selection.registry import describe, missing_peers, reads_model, select, strategies

__all__ = [
    "PUT_FIRST",
    "Ji2025Options",
    "Pictures",
    "Problem",
    "Reason",
    "Selection",
    "SelectionOptions",
    "describe",
    "missing_peers",
    "neutral_sentence",
    "problem_for",
    "reads_model",
    "select",
    "sentence_without_label",
    "strategies",
]
