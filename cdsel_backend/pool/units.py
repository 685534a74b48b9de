"""Units of measurement as people write them."""

from __future__ import annotations

import re
from functools import lru_cache

YEARS = {"days": 1 / 365.25, "weeks": 7 / 365.25, "months": 1 / 12, "years": 1.0}
_MEANINGS = """
years: year yr yrs y yo y.o y/o jahr jahre jahren j an ans año años ano anos anno anni jaar
months: month mon monat monate monaten mois mes meses mese mesi mês maand maanden
weeks: week woche wochen semaine semaines semana semanas settimana settimane weken
days: day tag tage tagen jour jours día días dia dias giorno giorni dag dagen
h: hours hour stunde stunden std heure heures hora horas ora ore
min: minutes minuten
s: sec
%: percent pct
lb: lbs pounds
um: µm μm
ug: µg μg
ul: µl μl
€: eur euro euros
$: usd us$
£: gbp"""
_WORDS = {
    **{
        word: unit
        for unit, words in (line.split(":", 1) for line in _MEANINGS.split("\n") if line)
        for word in words.split()
    },
    **dict.fromkeys(("years old", "year old", "yrs old"), "years"),
}
_UNIT_NAMES = """
% ‰ years months weeks days h min s ms nm um mm cm m km in ng ug mg g kg ul ml cl dl l mv v kv kvp ua ma mas gy cgy mgy
sv msv hz khz mhz ghz t mt bq kbq mbq gbq mci ° °c °f deg bpm mmhg kpa px pixels dpi ppi mol mmol umol iu miu hu db
cells copies lb oz ft nl pl fl hpf $ € £ ¥ ₹ ₽ ₩ ₺ r$ kr kr. zł ft fr fr. rs rs. chf cad aud nzd jpy cny inr brl sek nok
dkk pln czk huf rub try mxn zar sgd hkd krw ils"""
_UNITS = frozenset(_UNIT_NAMES.split())
_POWER = re.compile(r"\^?([23])$|([²³])$")


@lru_cache(maxsize=4096)
def unit_of(text: str) -> str | None:
    """Return a known unit in one spelling, "" for none, None for what is no unit."""
    unit = text.strip().rstrip(".").casefold()
    if not unit:
        return ""
    unit = _WORDS.get(unit, unit)
    parts = [_WORDS.get(part.strip(), part.strip()) for part in unit.split("/")]
    known = all(part in _UNITS or _POWER.sub("", part) in _UNITS for part in parts if part or len(parts) == 1)
    if not known or len(parts) > 2:
        return None
    if len(parts) == 1 and parts[0] in _WORDS.values():
        return parts[0]
    return re.sub(r"\^?2$", "²", re.sub(r"\^?3$", "³", text.strip()))
