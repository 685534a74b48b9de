"""What is known of a variable, and whether rounds and training act on it."""

from __future__ import annotations

from enum import Enum


class Verdict(str, Enum):
    """What detection says of a variable; the value is what pages, JSON and CSV show.

    Before there are labels nothing is more than suspected. With labels, whatever may still turn out to confound is not
    known yet, and protection stays on until it is.
    """

    CONFOUNDER = "confounder"
    SUSPECTED = "suspected"
    NOT_KNOWN_YET = "not known yet"
    ENCODED_ONLY = "encoded only"
    ASSOCIATED_ONLY = "associated only"
    NEITHER = "neither"
    LEFT_OUT = "left out"
    FORCED_IN = "forced in"
    FORCED_OUT = "forced out"

    def __str__(self) -> str:
        return self.value

    @property
    def acts(self) -> bool:
        """Whether rounds and training take the variable into account."""
        return self in _ACTING

    @property
    def meaning(self) -> str:
        """What the verdict says, as whole sentences for a page."""
        return _MEANINGS[self]


_ACTING = frozenset({Verdict.CONFOUNDER, Verdict.SUSPECTED, Verdict.NOT_KNOWN_YET, Verdict.FORCED_IN})

_MEANINGS = {
    Verdict.CONFOUNDER: "It is encoded in the images, also among images of one label, and associated with the label: a "
    "model would learn it as a shortcut.",
    Verdict.SUSPECTED: "There are too few labels to say. It is encoded in the images, and associated with groups of "
    "images that look alike; rounds and training act on it until labels say more.",
    Verdict.NOT_KNOWN_YET: "It may still confound: the labels so far are too few to exclude it. Protection stays on "
    "until they do.",
    Verdict.ENCODED_ONLY: "It is encoded in the images, but not associated with the label: there is no shortcut.",
    Verdict.ASSOCIATED_ONLY: "It is associated with the label, but among images of one label it cannot be read "
    "from the images: they show the disease, and no mark of the variable itself.",
    Verdict.NEITHER: "It is not encoded in the images, and no association with the label is known.",
    Verdict.LEFT_OUT: "No candidate: an identifier, a constant, nearly unique, the duplicate of another variable, a "
    "consequence of the label, or ignored by a setting.",
    Verdict.FORCED_IN: "Treated as a confounder because a setting names it.",
    Verdict.FORCED_OUT: "Not treated as a confounder because the settings name others.",
}
