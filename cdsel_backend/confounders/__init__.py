"""Which variables confound, the strata they make, and a representation of the pool."""

from cdsel_backend.confounders.association import cramers_v, cross_table, with_rare_classes
from cdsel_backend.confounders.detect import detect
from cdsel_backend.confounders.first_sentence import first_sentence, labels_by_level
from cdsel_backend.confounders.report import Finding, LatentGroup, Report, VerdictChange, verdict_changes
from cdsel_backend.confounders.representation import Representation, fit_representation
from cdsel_backend.confounders.verdict import Verdict

__all__ = [
    "Finding",
    "LatentGroup",
    "Report",
    "Representation",
    "Verdict",
    "VerdictChange",
    "cramers_v",
    "cross_table",
    "detect",
    "first_sentence",
    "fit_representation",
    "labels_by_level",
    "verdict_changes",
    "with_rare_classes",
]
