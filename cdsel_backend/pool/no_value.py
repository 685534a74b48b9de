"""Words and marks that say that a value is missing, as people, spreadsheets and databases write them."""

from __future__ import annotations

import re

_WORDS = frozenset(
    word.strip()
    for word in """
    na / nan / nat / none / null / nil / nul / unknown / unk / unkn / undefined / undef / missing
    not available / not specified / not applicable / not known / not recorded / not reported / not given / not stated
    not provided / not documented / no data / no information / no info / no value / none given / to be determined / tbd
    keine angabe / keine angaben / ohne angabe / nicht bekannt / nicht angegeben / nicht erhoben / nicht dokumentiert
    unbekannt / fehlt / fehlend / entfällt
    inconnu / inconnue / non connu / non renseigné / non précisé / non disponible
    desconocido / desconocida / sin datos / no disponible / no especificado / sin información
    sconosciuto / sconosciuta / non disponibile / non noto / onbekend / niet bekend / okänd / ukendt / ukjent
    desconhecido / sem dados / nieznany / brak danych / неизвестно / нет данных / 不明 / 未知 / 不详 / なし
    """.replace("\n", "/").split("/")
    if word.strip()
)
_IN_BRACKETS = frozenset(("blank", "empty", "leer"))  # a bladder may be empty
_SHORT = re.compile(r"(?:n ?/ ?(?:a|d|k|r)|s/d|n\. ?(?:a|b|d|k|r)\.?|(?:k|o)\. ?a\.?|n/a ?[-–:(].*)")
_MARKS = re.compile(r"[-–—−?._… /:]*|\\n|∅|['\"]+")  # \N: as databases write NULL
_NO_DATE = re.compile(r"0{4}[-/.]00[-/.]00(?:[ t]00:00(?::00)?)?|00[-/.]00[-/.]0{4}|0{8}")
_CELL_ERROR = re.compile(r"#[¡¿]?[\w/]+[!?]|#n/?[adv]|#div/0")
_PATTERNS = (_MARKS, _SHORT, _NO_DATE, _CELL_ERROR)
_FIRST_LETTERS = "nkso0"  # of what the patterns match, besides marks
_BRACKETS = re.compile(r"\((.*)\)|\[(.*)\]|<(.*)>|\{(.*)\}")


def is_no_value(text: str) -> bool:
    """Whether a text, without blanks around it, says that a value is missing: `k.A.`, `(null)`, `0000-00-00`, `#NV`."""
    word = text.casefold()
    if word[:1].isalnum() and word[0] not in _FIRST_LETTERS:  # nearly all values
        return word.rstrip(" .") in _WORDS
    if found := _BRACKETS.fullmatch(word):
        word = next(part for part in found.groups() if part is not None).strip()
        if word in _IN_BRACKETS:
            return True
    return word.rstrip(" .") in _WORDS or any(pattern.fullmatch(word) for pattern in _PATTERNS)
