"""Medical values as people and machines write them."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from cdsel_backend.pool.column_reading import read_columns
from cdsel_backend.pool.columns import MISSING, Column
from cdsel_backend.pool.groups import group_id, unread_groups
from cdsel_backend.pool.values import Reading, find_reading


def read(values, name="field"):
    (column,) = read_columns([{name: value} for value in values])
    return column


def number(texts, text=None):
    reading = find_reading(texts)
    return None if reading is None else reading.number(text or texts[0])


# Ages


def test_ages_of_dicom_are_years():
    """CASES 7."""
    values = [f"{20 + i % 60:03d}Y" for i in range(600)] + ["007M", "3W", "10D", "011M", "002Y"]
    column = read(values, "PatientAge")
    assert (column.kind, column.excluded) == ("numeric", None)
    assert column.levels[-1] == "67-79 years"
    assert column.levels[0].endswith(" years")
    later = column.encode([{"PatientAge": "070Y"}, {"PatientAge": "70"}, {"PatientAge": "x"}])
    assert later.names.tolist() == ["67-79 years", "67-79 years", MISSING]
    assert number(values, "007M") == pytest.approx(7 / 12)
    assert number(values, "3W") == pytest.approx(21 / 365.25)
    assert number(values, "10D") == pytest.approx(10 / 365.25)


def test_ages_all_different_are_no_identifier():
    assert read([f"{i:03d}Y" for i in range(1, 61)], "PatientAge").excluded is None


@pytest.mark.parametrize("form", ["{} years", "{} y", "{}yrs", "{} Years", "{}y", "{} years old", "{} y/o"])
def test_ages_in_words(form):
    column = read([form.format(20 + i % 60) for i in range(600)], "age")
    assert (column.kind, column.levels[0]) == ("numeric", "20-31 years")


def test_ages_in_mixed_units_become_years():
    values = [f"{i % 70} years" for i in range(60)] + [f"{1 + i % 11} months" for i in range(30)]
    assert number(values, "6 months") == 0.5


# Dates


@pytest.mark.parametrize(
    "form",
    ["{y}{m:02}{d:02}", "{d:02}.{m:02}.{y}", "{y}-{m:02}-{d:02}", "{y}-{m:02}-{d:02}T10:30:00Z", "{y}/{m:02}/{d:02}",
     "{y}-{m:02}-{d:02} 10:30", "{m:02}/{d:02}/{y}", "{d:02}/{m:02}/{y}", "{d}-{m}-{y}", "{y}{m:02}{d:02}103000",
     "{y}{m:02}{d:02}103000.000000",
     "{y}{m:02}{d:02}103000.000000+0100", "{y}{m:02}{d:02}T103000Z", "{y}{m:02}{d:02}1030+0100",
     "{d}.{m}.{y} 10:30", "{d:02}-{b}-{y}", "{b} {d}, {y}", "{d} {b}. {y} 10:30"],
)  # fmt: skip
def test_dates_are_dates_however_they_are_written(form):
    """CASES 8; 01/31/2020 and 31/01/2020 are told by the days beyond 12 in the field."""
    days = [(2020, 1 + i // 28, 1 + i % 28) for i in range(140)]
    months = ["", "JAN", "Feb", "mar", "April", "may"]
    column = read([form.format(y=y, m=m, d=d, b=months[m]) for y, m, d in days], "StudyDate")
    assert (column.kind, column.dated, column.excluded) == ("numeric", True, None)
    assert column.levels[0] == "2020-01-01 to 2020-01-28"
    later = column.encode([{"StudyDate": form.format(y=2020, m=1, d=14, b="Jan")}, {"StudyDate": "never"}])
    assert later.names.tolist() == ["2020-01-01 to 2020-01-28", MISSING]


def test_dates_as_whole_numbers():
    column = read([20200101 + i % 28 for i in range(140)], "StudyDate")
    assert column.dated
    assert column.levels[0].startswith("2020-01-01 to 2020-01-0")


def test_dates_of_which_nothing_tells_day_and_month_stay_text():
    values = [f"{1 + i % 12:02}/{1 + i // 12:02}/2020" for i in range(100)]
    column = read(values)
    assert not column.dated
    assert "2020-01-31" in column.excluded
    assert "the century" in read([f"{1 + i % 28:02}.{1 + i // 28:02}.20" for i in range(100)]).excluded
    few = read(["01/02/2020", "03/04/2020"] * 30)
    assert (few.kind, few.excluded) == ("categorical", None)
    both = read([*values, "31/01/2020", "01/31/2020"])
    assert not both.dated


def test_numbers_of_eight_digits_that_are_no_days_are_numbers():
    assert "identifies" in read([20201301 + 7 * i for i in range(200)], "case").excluded
    assert not read([12345678 + i for i in range(50)], "case").dated


# Numbers


@pytest.mark.parametrize(
    ("values", "text", "wanted"),
    [
        (["20,5", "21,25", "19,0"], "20,5", 20.5),
        (["1.234,5", "20,5", "1.100"], "1.234,5", 1234.5),
        (["1.234,5", "20,5", "1.100"], "1.100", 1100),
        (["1,234.5", "20.5"], "1,234.5", 1234.5),
        (["1,234", "12,345", "999"], "12,345", 12345),
        (["0,234", "12,345"], "0,234", 0.234),
        (["7,5", "3.1", "8,25", "4"], "8,25", 8.25),
        (["7,5 cm", "3.1 cm"], "3.1 cm", 3.1),
        (["5%", "10 %", "7,5 %"], "5%", 5),
        (["5 percent", "10 %"], "5 percent", 5),
        (["1,5 mm", "2 mm", "3,25mm"], "1,5 mm", 1.5),
        (["1.5T", "3T"], "3T", 3),
        (["120 kV", "80 kV"], "80 kV", 80),
        (["3.1 mg/dl", "4 mg/dl"], "4 mg/dl", 4),
        (["3.1 mm²", "4 mm2", "3.1 mm²"], "3.1 mm²", 3.1),
        (["<5", "7", "8"], "7", 7),
        (["-1,5", "2,5"], "-1,5", -1.5),
        (["+1,5", "2,5"], "+1,5", 1.5),
        (["1,5e-3", "2,5"], "1,5e-3", 0.0015),
        (["−1,5", "2,5"], "−1,5", -1.5),
        (["２０，５", "２１，２５"], "２０，５", 20.5),
        (["٢٠٫٥", "٢١٫٢٥"], "٢٠٫٥", 20.5),
        (["５％", "7 %"], "５％", 5),
    ],
)
def test_numbers_are_read_as_their_field_writes_them(values, text, wanted):
    """CASES 9."""
    assert number(values, text) == pytest.approx(wanted)


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u202f", "'", "’"])
def test_thousands_may_be_parted_by_a_blank_or_an_apostrophe(blank):
    values = [f"{1_000 + 731 * i:,}.5".replace(",", blank) for i in range(60)]
    assert read(values).kind == "numeric"
    assert number(["1 234,5 mm", "12 345,25 mm", "7,5 mm"], "12 345,25 mm") == 12345.25
    assert number(["1'234'567.5", "12.5"]) == 1234567.5
    assert number(["< 1 234", "12 345", "999"]) == np.nextafter(1234, 0)
    assert number(["-1 234", "12 345"]) == -1234


@pytest.mark.parametrize(
    "values",
    [
        [f"{75 + i % 5} {100 + i:03}" for i in range(60)],  # places: all as long
        [f"0{i % 9} {100 + i:03}" for i in range(60)],
        [f"{10 + i} {20 + i} {30 + i}" for i in range(60)],  # telephones
        [f"{1 + i} 234 56" for i in range(60)],
    ],
)
def test_what_may_be_a_code_is_no_number_with_thousands(values):
    assert read(values).kind == "categorical"


def test_whole_numbers_that_begin_with_0_are_codes_unless_their_name_says_an_amount():
    values = [f"{1000 + 1171 * (i % 12):05}" for i in range(240)]
    assert read(values, "postal").kind == "categorical"
    assert read(values, "postal").excluded is None
    assert (
        read(values, "age").kind == read([value.lstrip("0") for value in values], "postal").kind == "numeric"
    )


@pytest.mark.parametrize("word", ["k.A.", "keine Angabe", "Unbekannt", "#DIV/0!", "\\N", "–", "not reported"])
def test_words_of_spreadsheets_and_databases_for_nothing_are_missing(word):
    column = read([word] * 20 + [str(1.5 * i) for i in range(80)])
    assert (column.kind, column.names[0]) == ("numeric", MISSING)


@pytest.mark.parametrize(
    "values",
    [
        ["40-49", "50-59"], ["60+", "70+"], ["A12", "A13"], ["2.1.3", "2.2.0"], ["12:30", "12:31"], ["1/2", "2/2"],
        ["12E3", "12E4"], ["12_000", "13_000"], ["001-A", "002-A"], ["1234B", "1235B"], ["192.168.0.1", "192.168.0.2"],
        ["T2N0M0", "T1N0M0"], ["ISIC_0001", "ISIC_0002"], ["1,2,3", "2,3"], ["5 mg daily", "10 mg daily"], ["", "x"],
        ["1234567890123456789", "1234567890123456790"], ["mm", "%"], ["<", ">"], ["nan mm", "inf mm"],
    ],
)  # fmt: skip
def test_what_is_no_number_stays_text(values):
    assert find_reading(values) is None


def test_less_than_falls_below_the_number():
    column = read(["< 5"] * 40 + [str(5 + i % 40) for i in range(160)], "crp")
    assert column.kind == "numeric"
    assert number(["< 5", "5", "7"], "< 5") < 5 < number(["> 5", "5", "7"], "> 5")
    assert number(["<= 5", "7"], "<= 5") == 5
    assert column.encode([{"crp": "<5"}, {"crp": "6"}]).names[0] == column.levels[0]


def test_levels_are_printed_as_people_write_them():
    assert read([f"{i % 100},5 %" for i in range(200)]).levels[0].endswith(" %")
    assert read([f"{i % 100} mm" for i in range(200)]).levels[0] == "0-19 mm"
    assert read([f"{20 + i % 3},5" for i in range(90)], "dose").levels == ("20.5", "21.5", "22.5")
    assert read(["1.5T", "3T", "7 T"] * 20).levels == ("1.5 T", "3 T", "7 T")
    again = read(["1.5T", "3T", "7 T"] * 20).encode([{"field": "3 T"}, {"field": "9T"}, {}])
    assert again.names.tolist() == ["3 T", MISSING, MISSING]


def test_numbers_with_a_unit_are_no_identifiers_and_identifiers_stay_so():
    for form in ("{} mm", "{},5", "{}%", "{} mg/dl", "< {}"):
        assert read([form.format(100 + i) for i in range(300)], "value").excluded is None, form
    for form in ("P{}", "{}-A", "{}", "{}B", "id {}"):
        assert "identifies" in read([form.format(1000 + i) for i in range(300)], "case").excluded, form
    assert (
        "several units (g, mg)" in read([f"{100 + i} {'g' if i % 2 else 'mg'}" for i in range(300)]).excluded
    )


def test_a_reading_is_kept_with_the_variable():
    column = read([f"{i % 100},5 mm" for i in range(200)])
    again = Column.from_meta(json.loads(json.dumps(column.meta())), column.codes)
    assert again.reading == column.reading == Reading(",", unit="mm")
    rows = [{"field": "3,5 mm"}, {"field": "99,5"}]
    assert again.encode(rows).names.tolist() == [column.levels[0], column.levels[-1]]
    old = {key: value for key, value in column.meta().items() if key != "reading"}
    assert Column.from_meta(old, column.codes).reading is None


def test_a_field_of_many_texts_is_read_in_seconds():
    rng = np.random.default_rng(0)
    values = [f"{value:.3f}".replace(".", ",") for value in rng.random(50_000) * 90]
    assert read(values).kind == "numeric"


def test_a_field_of_long_reports_is_read_as_quickly_as_one_of_short_texts():
    report = 250 * "läsion 12 mm, 3.4 x 5.6 mm on 12/03/2020 at 10:30 [ref] (4.0-6.0) ± 2 € "
    reports = [f"{i} {report}" for i in range(100)]
    begun = time.process_time()
    assert "free text" in (read(reports).excluded or "")
    assert time.process_time() - begun < 3


# Parts of years, times, two words for one thing, numbers with bounds

MARCH = ("2020-03-01 to 2020-03-05", "2020-03-23 to 2020-03-28")


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([f"20{18 + i % 4}-{1 + i % 12:02}" for i in range(300)], ("2018-01 to 2018-05", "2021-04 to 2021-12")),
        ([f"{1 + i % 12:02}/20{18 + i % 4}" for i in range(300)], ("2018-01 to 2018-05", "2021-04 to 2021-12")),
        ([f"{1 + i % 12:02}.20{18 + i % 4}" for i in range(300)], ("2018-01 to 2018-05", "2021-04 to 2021-12")),
        ([f"{['Jan', 'Feb', 'Mar'][i % 3]} 20{18 + i % 3}" for i in range(300)], ("2018-01", "2020-03")),
        (["2020-03", "2020-04-17"] * 150, ("2020-03", "2020-04")),
        ([f"20{18 + i % 4}-Q{1 + i % 4}" for i in range(300)], ("2018-Q1", "2021-Q4")),
        ([f"Q{1 + i % 4} 20{18 + i % 4}" for i in range(300)], ("2018-Q1", "2021-Q4")),
        ([f"2020-W{1 + i % 50:02}" for i in range(500)], ("2020-W01 to 2020-W10", "2020-W41 to 2020-W50")),
        ([f"{i % 24:02}:{i * 7 % 60:02}" for i in range(300)], ("00:00-04:16", "19:01-23:53")),
        ([f"{1 + i % 12}:{i % 60:02} {'ap'[i // 12 % 2]}m" for i in range(360)], ("00:11-04:39", "19:18-23:58")),
        ([f"{i % 5}h {i * 7 % 60}min" for i in range(300)], ("00:00-00:55", "04:03-04:58")),
        ([f"PT{i % 60}M" for i in range(300)], ("00:00-00:11", "00:48-00:59")),
        ([f"2020-03-{1 + i % 28:02} 10:30 UTC" for i in range(280)], MARCH),
        ([f"3/{1 + i % 28}/2020 1:30 PM" for i in range(280)], MARCH),
        ([f"{i % 9}y {i % 12}m" for i in range(300)], ("0-1.58 years", "7.08-8.92 years")),
        ([f"~{20 + i % 60}" for i in range(300)], ("20-31", "68-79")),
        ([">90" if i % 9 == 0 else str(18 + i % 72) for i in range(300)], ("19-31", "83 to >90")),
        (["90+" if i % 9 == 0 else str(18 + i % 72) for i in range(300)], ("19-31", "83-90")),
        (["over 90" if i % 9 == 0 else str(18 + i % 72) for i in range(300)], ("19-31", "83 to >90")),
        (["<5" if i % 4 == 0 else str(5 + i % 60) for i in range(300)], ("<5 to 16", "50-64")),
        ([f"{24 + i % 18}+{i % 7}" for i in range(300)], ("24+0-27+2 weeks", "38+1-41+6 weeks")),
        ([f"{24 + i % 18}w{i % 7}d" for i in range(300)], ("24+0-27+2 weeks", "38+1-41+6 weeks")),
        ([f"SSW {24 + i % 18} {i % 7}/7" for i in range(300)], ("24+0-27+2 weeks", "38+1-41+6 weeks")),
        ([f"${1_000 + 31 * i:,}.50" for i in range(300)], ("1000-2830 $", "8440-10300 $")),
        ([f"{1_000 + 31 * i:_},50 €".replace("_", ".") for i in range(300)], ("1000-2830 €", "8440-10300 €")),
        ([f"CHF {1_000 + 31 * i:_}.-".replace("_", "'") for i in range(300)], ("1000-2829 CHF", "8440-10269 CHF")),
        ([f"(${i})" if i % 2 else f"USD {i}" for i in range(300)], ("-299 to -181 $", "180 to 298 $")),
        ([f"{20 + i % 60}±{i % 3}" for i in range(300)], ("20-31", "68-79")),
        ([f"{20 + i % 60} +/- {i % 3} mm" for i in range(300)], ("20-31 mm", "68-79 mm")),
        ([f"{1 + i % 9}.5 x 10^{3 + i % 2}" for i in range(300)], ("1500-3500", "65000-95000")),
        ([f"'{20 + i % 60}" for i in range(300)], ("20-31", "68-79")),
        ([f"{20 + i % 60} Jahre" for i in range(300)], ("20-31 years", "68-79 years")),
        ([f"{20 + i % 60} ans" for i in range(300)], ("20-31 years", "68-79 years")),
        ([f"{20 + i % 60} Stk." for i in range(300)], ("20-31 Stk.", "68-79 Stk.")),
        ([f"{20 + i % 60} ml/min/1.73m2" for i in range(300)], ("20-31 ml/min/1.73m2", "68-79 ml/min/1.73m2")),
        ([f"{20 + i % 60} ° C" for i in range(300)], ("20-31 °C", "68-79 °C")),
        ([f"2020:03:{1 + i % 28:02} 10:11:12" for i in range(280)], MARCH),  # as EXIF writes them
        ([f"202003{1 + i % 28:02}T101112" for i in range(280)], MARCH),
        ([f"Mo, {1 + i % 28:02}.03.2020" for i in range(280)], MARCH),
        ([f"Tue Mar {1 + i % 28:2d} 10:11:12 2020" for i in range(280)], MARCH),
        ([f'="{20 + i % 60}"' for i in range(300)], ("20-31", "68-79")),
        ([f"{['Mar', 'Apr'][i % 2]}-{10 + i % 12}" for i in range(300)], ("2010-03 to 2011-04", "2019-04 to 2021-04")),
        ([f"{1 + i % 28}-Mar-20" for i in range(280)], MARCH),
        ([f"{1 + i % 28}. März 2020" for i in range(280)], MARCH),
        ([f"{1 + i % 28} mars 2020" for i in range(280)], MARCH),
        ([f"{1 + i % 28} de marzo de 2020" for i in range(280)], MARCH),
        ([f"2020-03-{1 + i % 28:02}" if i % 2 else f"{1 + i % 28:02}.03.2020" for i in range(280)], MARCH),
        ([f"3/{1 + i % 28}/2020" if i % 2 else f"{1 + i % 28} Mar 2020" for i in range(280)], MARCH),
        ([f"3/{1 + i % 28}/2020" if i % 2 else f"{1 + i % 28:02}.03.2020" for i in range(280)], MARCH),
        ([f"{4 + i % 3}'{i % 12}\"" for i in range(300)], ("4'0\"-4'3\"", "6'5\"-6'11\"")),
        ([f"{4 + i % 3} ft {i % 12} in" for i in range(300)], ("4'0\"-4'3\"", "6'5\"-6'11\"")),
        ([f"{4 + i % 5}.{i % 9} % ({20 + i % 60} mmol/mol)" for i in range(300)], ("4-4.8 %", "8-8.8 %")),
        ([f"{150 + i % 50} cm (5'{i % 12}\")" for i in range(300)], ("150-159 cm", "190-199 cm")),
        ([f"{2 + i % 9}.{i % 7} (4.0-6.0)" for i in range(300)], ("2-3.4", "9.1-10.6")),
        ([f"{2 + i % 9} mg/dl [ref. < 5]" for i in range(300)], ("2 mg/dl", "9-10 mg/dl")),
        ([f"{2 + i % 9} 10*9/L" for i in range(300)], ("2000000000 /L", "9000000000-10000000000 /L")),
        ([f"{i % 24:02}:{i * 7 % 60:02} Uhr" for i in range(300)], ("00:00-04:16", "19:01-23:53")),
        ([f"{1 + i % 4}. Quartal 20{18 + i % 4}" for i in range(300)], ("2018-Q1", "2021-Q4")),
        ([f"{1 + i % 12:02}/{(95 + i % 7) % 100:02}" for i in range(300)],
         ("1995-01 to 1996-04", "2000-08 to 2001-12")),
        ([f"{1 + i % 9}e3" if i % 2 else f"{1 + i % 9}.5e3" for i in range(300)], ("1000-2000", "8000-9500")),
        ([f"{20 + i % 60}{' H' if i % 60 > 50 else '*' if i % 60 < 3 else ''}" for i in range(300)],
         ("20-31", "68-79")),
        ([f"{i % 9} y {i % 12} m" if i % 9 else f"{i % 12} m" for i in range(300)],
         ("0-1.58 years", "7.08-8.92 years")),
        ([f"EF {20 + i % 60} %" for i in range(300)], ("20-31 %", "68-79 %")),
        ([f"HbA1c: {5 + i % 6}.{i % 10}" for i in range(300)], ("5-6.1", "9.8-10.9")),
        ([f"Age: {20 + i % 60} years" for i in range(299)] + ["unclear"], ("20-31 years", "(missing)")),
        ([43_891 + i % 28 if i % 2 else f"2020-03-{1 + i % 28:02}" for i in range(280)], MARCH),
    ],
)  # fmt: skip
def test_parts_of_years_times_and_bounds_are_cut_like_numbers(values, levels):
    column = read(values)
    assert (column.kind, column.excluded) == ("numeric", None)
    assert (column.levels[0], column.levels[-1]) == levels
    again = Column.from_meta(json.loads(json.dumps(column.meta())), column.codes)
    assert again.encode([{"field": value} for value in values]).codes.tolist() == column.codes.tolist()


def test_what_only_looks_like_a_time_or_a_number_stays_a_level():
    for values in (
        ["3+3", "3+4", "4+3", "4+4", "4+5", "5+4", "5+5", "3+5"] * 40,  # a Gleason score
        [f"{1 + i % 4}-Mar" for i in range(300)],
        ["20/20", "20/25", "20/40", "20/200"] * 40,
        ["256 x 256", "512 x 512"] * 40,
        [f"1:{10 * 2 ** (i % 8)}" for i in range(300)],  # titers
        [f"1:{10 + 5 * (i % 8)}" for i in range(300)],
        [f"{i % 9 * 10}-{i % 9 * 10 + 9}" for i in range(300)],  # ranges throughout are levels already
        [f"{i % 5}+" for i in range(300)],
        [f"{1 + i % 9}e3" for i in range(300)],  # codes, as of wards
        [f"{i % 9} (L)" for i in range(300)],  # the side
        [f"{i % 40}'" for i in range(300)],  # minutes, or feet
        [f"{3 + i % 10:02}/15" for i in range(300)],  # points of 15
        [f"ward {i % 30}" for i in range(300)],
        [f"ward {i % 20}{['', ' (L)'][i % 4 < 1]}" for i in range(300)],
        [f"ward {i % 20}{'ab'[i % 2]}" for i in range(300)],
        [f"{i % 9}0s" for i in range(300)],  # decades of life, not seconds
    ):
        column = read(values, "age")
        assert (column.kind, column.excluded) == ("categorical", None)
        assert set(column.levels) == set(values)


def test_month_and_year_of_two_digits_are_read_where_nothing_else_is_meant():
    months = [f"{1 + i % 12:02}/{18 + i % 7}" for i in range(300)]
    for name in ("exam_date", "Monat", "monthOfExam"):
        assert read(months, name).levels[0].startswith("2018-01 to ")
    days = [f"{1 + i % 12:02}/{1 + i % 28:02}" for i in range(300)]
    for name, values in (("field", months), ("exam_date", days)):
        whole, *parts = read_columns([{name: value} for value in values])
        assert "holds 2 numbers in each value" in whole.excluded
        assert [column.name for column in parts] == [f"{name} (1st number)", f"{name} (2nd number)"]


def test_what_would_be_misread_is_left_out_with_the_reason():
    days = read([f"{1 + i % 28:02}.{1 + i % 12:02}." for i in range(60)])  # of no year, and no decimals
    assert days.kind == "categorical"
    shares = read([f"{i} %" if i % 2 else f"{i / 100:.2f}" for i in range(100)])
    assert "holds numbers in several units (%, none); give them in one" in shares.excluded
    assert read([f"{i} %" if i % 2 else f"{i}" for i in range(100)]).levels[-1] == "80-99 %"


def test_times_of_dicom_are_times_where_the_field_says_so():
    values = [f"{i % 24:02}{i * 7 % 60:02}{i * 11 % 60:02}.000000" for i in range(300)]
    assert read(values, "StudyTime").levels[0] == "00:00:00-04:16:08"
    assert read(values, "StudyTime").excluded is None


def test_days_that_spreadsheets_count_are_dates_where_the_field_says_so():
    values = [str(43_000 + i) for i in range(300)]
    assert read(values, "StudyDate").levels[0] == "2017-09-22 to 2017-11-20"
    assert read(values, "StudyDate").excluded is None
    assert "identifies" in read(values, "accession").excluded
    column = read(values, "StudyDate")
    assert column.encode([{"StudyDate": odd} for odd in (-(10**8), 10**8)]).names.tolist() == [MISSING] * 2


@pytest.mark.parametrize(
    ("a_second", "name"), [(1, "created_at"), (1_000, "timestamp"), (1_000_000, "AcquisitionTime")]
)
def test_seconds_since_1970_are_dates_where_the_field_says_that_it_is_a_time(a_second, name):
    values = [(1_583_020_800 + 86_400 * (i % 28)) * a_second for i in range(280)]
    column = read(values, name)
    assert (column.dated, column.levels[0], column.levels[-1]) == (True, *MARCH)
    assert read([str(value) for value in values], name).levels == column.levels
    assert column.encode([{name: values[0]}, {name: 7}]).names.tolist() == [MARCH[0], MISSING]
    for other in ("accession", "patient_id", "exposure_time", "seen"):
        assert not read(values, other).dated


@pytest.mark.parametrize(
    ("name", "form", "parts"),
    [
        ("blood_pressure", "{}/{}", ("blood_pressure (systolic)", "blood_pressure (diastolic)")),
        ("BP", "{} / {} mmHg", ("BP (systolic)", "BP (diastolic)")),
        ("score", "{} ({})", ("score (1st number)", "score (2nd number)")),
        ("size", "{} x {} mm", ("size (1st number)", "size (2nd number)")),
        ("lesion", "{}mm × {}mm", ("lesion (1st number)", "lesion (2nd number)")),
        ("spacing", "{}\\{}", ("spacing (1st number)", "spacing (2nd number)")),
        ("spacing", "[{}, {}]", ("spacing (1st number)", "spacing (2nd number)")),
    ],
)
def test_two_numbers_in_one_field_are_two_variables(name, form, parts):
    """As texts they would be an identifier, and neither number would be looked at."""
    rows = [{name: form.format(90 + i % 90, 50 + i % 60)} for i in range(300)]
    whole, *found = read_columns(rows)
    assert parts[0] in whole.excluded
    assert tuple(column.name for column in found) == parts
    for column, level in zip(found, ("90-104", "50-61"), strict=True):
        assert column.levels[0].startswith(level)
        again = Column.from_meta(json.loads(json.dumps(column.meta())), column.codes)
        assert again.encode(rows).codes.tolist() == column.codes.tolist()
        assert again.encode([{name: "none"}, {}]).names.tolist() == [MISSING, MISSING]
    assert {column.excluded for column in read_columns(rows, ignore=[name])} == {"ignored in the settings"}


@pytest.mark.parametrize(
    ("usual", "far", "name"),
    [
        (list(range(20, 90)), 999, "999"),
        (list(range(20, 90)), -1, "-1"),
        ([x / 10 for x in range(5, 60)], "-9", "-9"),
        ([f"2020-01-{day:02}" for day in range(1, 29)], "1900-01-01", "1900-01-01"),
        ([f"{day:02}.01.2020" for day in range(1, 29)], "31.12.9999", "9999-12-31"),
    ],
)
def test_values_that_stand_for_missing_ones_are_named(usual, far, name):
    """999 among ages would stretch the oldest range, in silence."""
    assert read(usual * 5 + [far] * 4).note == (
        f"4 values are {name}, far from the others: leave them empty if they mean that the value is missing"
    )
    assert read(usual * 5 + [far]).note.startswith(
        f"1 value is {name}, far from the others: leave it empty if it"
    )
    assert read(usual * 5).note == ""
    assert read([99, 99, *range(60, 99)] * 3).note == ""


def test_lists_of_two_numbers_are_two_variables():
    rows = [{"PixelSpacing": [0.1 + i / 400, 0.5 + i / 400]} for i in range(300)]
    whole, *found = read_columns(rows)
    assert "holds 2 numbers" in whole.excluded
    assert [column.levels[0] for column in found] == ["0.1-0.247", "0.5-0.647"]
    assert found[0].encode(rows).codes.tolist() == found[0].codes.tolist()
    few = read_columns([{"PixelSpacing": [0.5, 0.5] if i % 2 else [0.7, 0.7]} for i in range(60)])
    assert few[1].levels == few[2].levels == ("0.5", "0.7")


def test_odd_values_of_a_field_of_numbers_are_counted_with_an_example():
    column = read(["see note" if i % 50 == 0 else 20 + i % 60 for i in range(300)])
    assert column.note == "6 values are no number, such as 'see note', and count as missing"
    days = read(["soon"] + [f"{1 + i % 28:02}.03.2020" for i in range(100)])
    assert days.note == "1 value is no date, such as 'soon', and counts as missing"
    assert read([20 + i % 60 for i in range(300)] + [None, "n/a"]).note == ""
    many = read([f"{i} o'clock" if i % 10 == 0 else i / 7 for i in range(300)])
    assert "because 30 values are no number, such as" in many.excluded


@pytest.mark.parametrize(
    ("words", "levels", "later"),
    [
        (["yes", "no", "yes", "TRUE", "0"], ("no", "yes"), {"True": "yes", "N": "no", "maybe": MISSING}),
        ([True, False, True, 1, 0], ("false", "true"), {"yes": "true", 0: "false"}),
        (["1", "0"] * 49 + ["yes", "0"], ("0", "1"), {"yes": "1"}),
        (["male", "F", "male", "M", "female", "F"], ("F", "male"), {"f": "F", "m": "male"}),
        (["TRUE", "FALSE"], ("FALSE", "TRUE"), {"yes": "TRUE"}),
        (["pos", "negative", "pos", "positive", "neg", "negative"], ("negative", "pos"), {"positiv": "pos"}),
        (["yes", "no", "maybe", "TRUE"], ("maybe", "no", "TRUE", "yes"), {"y": MISSING}),
        (["1", "2", "yes"], ("1", "2", "yes"), {"true": MISSING}),
    ],
)
def test_two_words_for_one_thing_are_one_level(words, levels, later):
    """Apart they would be levels that name the table from which a row comes."""
    column = read(words * 20)
    assert column.levels == levels
    encoded = column.encode([{"field": word} for word in later])
    assert encoded.names.tolist() == list(later.values())


# Groups


@pytest.mark.parametrize(
    ("value", "group"),
    [("P3", "P3"), (3, "3"), ({"id": "P3"}, "P3"), ({"id": 3, "name": "x"}, "3"), (["P3"], "P3"),
     ([{"id": "P3"}], "P3"), ({"id": ["P3"]}, "P3"), (["P3", "P4"], None), ({"name": "P3"}, None), ([], None),
     ({}, None), (None, None), ("unknown", None), ({"id": None}, None), ({"id": "n/a"}, None), ([""], None),
     (" P3 ", "P3"),
     ("Jose\u0301\u00a01", "Jos\u00e9 1"), (3.0, "3"), ("3.0", "3"), ("3.01", "3.01"), ({"ID": "P3"}, "P3")],
)  # fmt: skip
def test_nested_groups_are_read(value, group):
    """CASES 10."""
    assert group_id(value) == group


def test_a_group_that_cannot_be_read_is_a_problem_that_names_the_field():
    assert unread_groups("patient", ["P1", {"id": "P2"}, None, ["P3"]]) is None
    problem = unread_groups("patient", [{"name": "Smith"}, ["P1", "P2"], "P3"])
    assert "'patient'" in problem
    assert "2 of 3 tasks" in problem
    assert '{"id": ...}' in problem
