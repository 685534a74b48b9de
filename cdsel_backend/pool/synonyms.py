"""Words for one thing that tables from several places mix: yes, TRUE and 1; M and male; L and left.

Left apart they would be levels that name the table, not the image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

_FAMILIES = tuple(
    tuple(frozenset(words.split()) for words in family)
    for family in (
        (
            "yes y true t 1 ja j wahr oui vrai si sí sì sim verdadero vero",
            "no n false f 0 nein falsch non faux não falso",
        ),
        (
            "m male man mann männlich masculin masculino maschile homme hombre",
            "f w female woman frau weiblich féminin femenino femminile femme mujer",
        ),
        (
            "pos positive positiv positif positivo +",
            "neg negative negativ négatif negativo",
        ),
        ("l left lt links gauche izquierda sinistra", "r right rt rechts droite derecha destra"),
    )
)


def spellings(counts: Mapping[str, int]) -> dict[str, str]:
    """Which text stands for each, where the texts of a field (with how often each occurs) mix words for one thing.

    The commonest stands for the others. Nothing where a text is none of the words, or each thing has one word only.
    """
    family = _family(counts)
    if family is None:
        return {}
    chosen: dict[str, str] = {}
    mixed = False
    for group in family:
        own = [text for text in counts if text.casefold() in group]
        mixed |= len({text.casefold() for text in own}) > 1
        chosen |= dict.fromkeys(own, max(own, key=lambda text: (counts[text], text)) if own else "")
    return chosen if mixed else {}


def level_of(text: str, levels: Iterable[str]) -> str | None:
    """The level that a text of another table names by another word; None where the levels are no such words."""
    levels = list(levels)
    family = _family(Counter(levels))
    if family is None:
        return None
    group = next((group for group in family if text.casefold() in group), frozenset())
    named = [level for level in levels if level.casefold() in group]
    return named[0] if len(named) == 1 else None


def _family(texts: Collection[str]) -> tuple[frozenset[str], ...] | None:
    words = {text.casefold() for text in texts}
    return next((family for family in _FAMILIES if words and words <= frozenset().union(*family)), None)
