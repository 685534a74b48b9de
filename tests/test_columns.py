import csv
import math
from pathlib import Path

import numpy as np
import pytest

from cdsel_backend.pool.column_reading import read_columns
from cdsel_backend.pool.columns import MISSING, OTHER

HAM = Path(__file__).parents[1].parent / "shared/data/ham10000_site"


def by_name(rows, **options):
    return {column.name: column for column in read_columns(rows, **options)}


def test_a_categorical_field_keeps_its_levels_and_a_level_for_what_is_missing():
    rows = [
        {"sex": "male"},
        {"sex": "Male "},
        {"sex": "female"},
        {},
        {"sex": None},
        {"sex": "unknown"},
        {"sex": ""},
    ]
    column = by_name(rows)["sex"]
    assert (column.kind, column.excluded) == ("categorical", None)
    assert set(column.levels) == {"female", "male", MISSING}
    assert column.names.tolist() == ["male", "male", "female", *[MISSING] * 4]
    assert column.codes.dtype == np.int64


def test_numbers_are_cut_at_quantiles_with_names_that_say_the_range():
    column = by_name([{"age": str(20 + i % 60)} for i in range(600)])["age"]
    assert column.kind == "numeric"
    assert column.excluded is None
    assert column.levels == ("20-31", "32-43", "44-55", "56-67", "68-79")
    assert np.bincount(column.codes).tolist() == [120] * 5


def test_a_column_encodes_other_items_with_its_own_levels():
    columns = by_name([{"age": i, "site": "ab"[i % 2]} for i in range(100)])
    assert columns["age"].encode(
        [{"age": 3}, {"age": "99"}, {"age": 500}, {}, {"age": "x"}]
    ).names.tolist() == [
        "0-19",
        "80-99",
        "80-99",
        MISSING,
        MISSING,
    ]
    assert columns["site"].encode([{"site": "B"}, {"site": "new"}, {}]).names.tolist() == [
        "b",
        MISSING,
        MISSING,
    ]


def test_negative_fractions_and_dates_read_well():
    rows = [{"shift": -1 + i / 50, "day": f"2021-{1 + i // 28:02}-{1 + i % 28:02}"} for i in range(112)]
    columns = by_name(rows)
    assert columns["shift"].levels[0] == "-1 to -0.56"
    assert columns["day"].kind == "numeric"
    assert columns["day"].levels[0] == "2021-01-01 to 2021-01-23"


@pytest.mark.parametrize(
    "odd", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-05:00", "9999-12-31T23:59:59.999999"]
)
def test_a_time_beyond_the_first_and_the_last_year_costs_nothing(odd):
    values = [{"seen": odd if i % 3 == 0 else f"2020-01-{i % 28 + 1:02}T10:00:00"} for i in range(90)]
    column = by_name(values)["seen"]
    assert column.dated
    assert odd[:10] in (column.levels[0][:10], column.levels[-1][-10:])
    assert column.encode(values).names.tolist() == column.names.tolist()


def test_numbers_too_small_to_be_told_apart_make_levels_of_their_own_names():
    column = by_name([{"dose": 1e-310 * i} for i in range(60)])["dose"]
    assert len(set(column.levels)) == len(column.levels) == 3
    assert np.bincount(column.codes).tolist() == [20, 20, 20]


def test_where_most_values_are_the_least_one_the_others_are_a_level():
    columns = by_name(
        [{"dose": max(0, i - 159), "day": f"2021-01-{max(1, i - 170):02}"} for i in range(200)]
        + [{"dose": None, "day": None}]
    )
    for name, levels in (("dose", ("0", "1-40")), ("day", ("2021-01-01", "2021-01-02 to 2021-01-29"))):
        assert columns[name].excluded is None
        assert columns[name].levels == (*levels, MISSING)
    assert np.bincount(columns["dose"].codes).tolist() == [160, 40, 1]
    assert columns["dose"].encode([{"dose": 0}, {"dose": 1}]).names.tolist() == ["0", "1-40"]


def test_dates_with_odd_words_among_them_stay_dates():
    days = [{"day": f"20{10 + i // 336}-{1 + i // 28 % 12:02}-{1 + i % 28:02}"} for i in range(2000)]
    column = by_name([*days, {"day": "not recorded"}, {"day": "7"}])["day"]
    assert (column.kind, column.dated, column.excluded) == ("numeric", True, None)
    assert column.names[[0, -2, -1]].tolist() == ["2010-01-01 to 2011-03-08", MISSING, MISSING]
    half = by_name([*days[:1000], *[{"day": f"week {i % 9}"} for i in range(1000)]])["day"]
    assert (half.kind, half.dated) == ("categorical", False)


def test_a_batch_is_read_as_the_column_is_whatever_else_it_holds():
    columns = by_name([{"age": i, "day": f"2021-01-{1 + i % 28:02}"} for i in range(100)])
    day = [{"day": value} for value in ("2021-01-02", "2021-01-32", 20, None)]
    assert columns["day"].encode(day).names.tolist() == ["2021-01-01 to 2021-01-05", *[MISSING] * 3]
    assert columns["day"].encode([{"day": 20}]).names.tolist() == [MISSING]
    assert columns["age"].encode([{"age": "2021-01-02"}]).names.tolist() == [MISSING]


@pytest.mark.parametrize(
    ("name", "values", "levels"),
    [
        ("site", [f"{i},0" for i in range(8, 16)], [str(i) for i in range(8, 16)]),
        ("site", [f"{i}'000" for i in range(8, 16)], [f"{i}000" for i in range(8, 16)]),
        (
            "age",
            [f"{38 + i}{form}" for i in range(4) for form in ("+2", "w2d")],
            ["38+2 weeks", "39+2 weeks"],
        ),
        (
            "height",
            [f"{i}{form}" for i in (4, 5, 6) for form in ("'1\"", " ft 1 in", "ft 1")],
            ["4'1\"", "5'1\""],
        ),
    ],
)
def test_few_numbers_are_levels_by_which_those_of_other_items_are_found(name, values, levels):
    rows = [{name: value} for value in values * 9]
    column = by_name(rows)[name]
    assert column.kind == "categorical"
    assert list(column.levels[: len(levels)]) == levels
    assert column.encode(rows).names.tolist() == column.names.tolist()


@pytest.mark.parametrize(
    "name",
    [
        "site",
        "hospital_no",
        "CentreID",
        "scannerid",
        "DeviceSerialNumber",
        "CTScanner2",
        "site_anon",
        "age_group",
    ],
)
def test_whole_numbers_stay_as_they_are_where_the_name_says_that_they_are_codes(name):
    column = by_name([{name: str(1 + i % 20)} for i in range(400)])[name]
    assert (column.kind, column.excluded) == ("categorical", None)
    assert column.levels == tuple(map(str, range(1, 21)))


def test_a_field_that_one_image_alone_has_is_no_candidate():
    columns = by_name([{"site": "ab"[i % 2], f"only {i}": i, "two": None if i > 1 else i} for i in range(40)])
    assert {columns[f"only {i}"].excluded for i in range(40)} == {"is known of 1 item only"}
    assert columns["site"].excluded is columns["two"].excluded is None


def test_levels_with_numbers_stand_in_their_order():
    levels = ("1.5T", "3T", "10T", "site 1", "site 2", "Site 10", "site 10b")
    column = by_name([{"place": levels[i % len(levels)]} for i in range(70)])["place"]
    assert column.levels == levels


@pytest.mark.parametrize(
    "name", ["age", "dose", "slice_thickness", "fluid", "hospital_days", "reader_experience", "websites"]
)
def test_whole_numbers_are_cut_at_quantiles_where_the_name_says_no_such_thing(name):
    assert by_name([{name: 1 + i % 20} for i in range(400)])[name].levels[0] == "1-4"


def test_codes_are_few_whole_numbers_that_do_not_identify():
    assert by_name([{"site": i % 31} for i in range(620)])["site"].kind == "numeric"
    assert by_name([{"site": i % 20 / 2} for i in range(620)])["site"].kind == "numeric"
    for name in ("site", "image_id"):
        assert "identifies" in by_name([{name: i} for i in range(25)])[name].excluded


def test_long_numbers_keep_their_digits():
    values = [4012345000016, "4012345000023", 4012345000016.0, 1234567890123456, "1234567890123457"]
    column = by_name([{"scanner": value} for value in [*values, 1234567890123456.0] * 20])["scanner"]
    assert column.names[:6].tolist() == [str(int(value)) for value in [*values, values[3]]]
    ids = by_name([{"image": 1234567890123456789 + i} for i in range(600)])["image"]
    assert "identifies" in ids.excluded


def test_a_number_is_one_level_however_it_is_written():
    values = [7, "7", 7.0, "7.0", "007", "1.2e1", "12"]
    column = by_name([{"scanner": value} for value in values * 9])["scanner"]
    assert column.names[:7].tolist() == [*["7"] * 5, *["12"] * 2]
    assert by_name([{"p": f"{i % 60}e-05"} for i in range(600)])["p"].kind == "numeric"


def test_a_code_that_float_would_read_is_no_number():
    values = ["12E3", "12000", "120E2", "12e3", "12_000"]
    column = by_name([{"scanner": value} for value in values * 9])["scanner"]
    assert column.names[:5].tolist() == ["12E3", "12000", "120E2", "12E3", "12_000"]
    assert column.encode([{"scanner": "120e2"}, {"scanner": 12000.0}]).names.tolist() == ["120E2", "12000"]
    assert by_name([{"plate": f"{i % 9}_1.5"} for i in range(90)])["plate"].kind == "categorical"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([f"ISIC_{i}" for i in range(60)], "identifies"),
        (list(range(1000, 1600)), "identifies"),
        ([f"patient {i // 3}" for i in range(600)], "nearly unique"),
        (["clinic"] * 60, "constant"),
        ([None] * 60, "empty"),
        ([{"a": 1}] * 60, "nested"),
        ([[1, 2]] * 60, "nested"),
        ([f"the patient came on a rainy day with number {i}" for i in range(60)], "free text"),
    ],
)
def test_what_is_no_candidate_says_why(values, reason):
    assert reason in by_name([{"field": value} for value in values])["field"].excluded


def test_ignored_grouping_and_our_own_fields():
    rows = [{"site": "ab"[i % 2], "patient": i // 2, "cdsel_rank": i} for i in range(40)]
    columns = by_name(rows, ignore=["site"], groups="patient")
    assert set(columns) == {"site", "patient"}
    assert "ignored" in columns["site"].excluded
    assert "split by" in columns["patient"].excluded


def test_whatever_stands_in_a_field_is_read():
    values = [
        1,
        "2",
        2.0,
        True,
        None,
        math.nan,
        math.inf,
        10**400,
        "N/A",
        [1],
        {"a": 1},
        object(),
        b"x",
        np.int8(3),
    ]
    column = by_name([{"field": value, 7: "key"} for value in values])["field"]
    assert len(column) == len(values)
    assert column.names[[1, 2]].tolist() == ["2", "2"]
    assert (column.names[[4, 5, 6, 8, 9, 10]] == MISSING).all()
    assert max(map(len, column.levels)) <= 80
    assert read_columns([]) == []


def test_a_type_that_changes_midway_costs_the_odd_values_only():
    column = by_name([{"age": i % 80} for i in range(500)] + [{"age": "about fifty"}])["age"]
    assert column.kind == "numeric"
    assert column.names[-1] == MISSING


def test_a_long_list_of_levels_ends_in_other():
    rng = np.random.default_rng(0)
    column = by_name([{"device": f"d{i}"} for i in rng.integers(0, 70, 5000)])["device"]
    assert column.excluded is None
    assert len(column.levels) == 50
    assert OTHER in column.levels


def test_take_keeps_the_levels():
    column = by_name([{"site": "abc"[i % 3]} for i in range(30)])["site"]
    assert column.take(np.array([0, 3])).levels == column.levels
    assert column.take(column.codes == 1).names.tolist() == ["b"] * 10


@pytest.mark.skipif(not HAM.exists(), reason="needs ../shared/data/ham10000_site")
def test_real_metadata():
    with (HAM / "metadata.csv").open() as file:
        columns = by_name(list(csv.DictReader(file)))
    assert {name for name, column in columns.items() if column.excluded} == {"file", "image_id", "lesion_id"}
    assert all("identifies" in columns[name].excluded for name in ("file", "image_id", "lesion_id"))
    assert columns["age"].kind == "numeric"
    assert columns["age_group"].kind == "categorical"
    assert len(columns["site"].levels) == 4
    assert MISSING in columns["sex"].levels


@pytest.mark.parametrize(
    "values",
    [
        ("\u00e9t\u00e9", "e\u0301te\u0301"),
        ("site A", "site\u00a0A", "site  A", "\u200bsite A\ufeff"),
        ("0", "-0", -0.0),
        (None, "#N/A", "n.a.", ".", "<NA>", "undefined"),
        (
            None,
            "N.A",
            "n / a",
            "(null)",
            "[missing]",
            "???",
            "0000-00-00",
            "#NV",
            "#WERT!",
            "--/--/----",
            "Not applicable",
            "ohne Angabe",
            "unk.",
            "non renseigné",
            "NaT",
            "未知",
        ),
        ("Orléans", "orleans", "Orle\u0301ans", "ORLÉANS"),
        ("St. Mary", "St.Mary", "st._mary", '"St. Mary"', "'St. Mary"),
        ("ＧＥ", "GE"),
    ],
)
def test_what_looks_the_same_is_one_level(values):
    (column,) = read_columns([{"x": value} for value in values] + [{"x": "other"}])
    assert len(set(column.names[:-1].tolist())) == 1


@pytest.mark.parametrize(
    "values",
    [
        ("site 11", "site1 1"), ("A-1", "A1"), ("'s-Hertogenbosch", "s-Hertogenbosch"), ("empty", None), ("か", "が"),
        ("Rh-", "Rh+"), ("и", "й"),
    ],
)  # fmt: skip
def test_what_only_resembles_stays_apart(values):
    (column,) = read_columns([{"x": value} for value in values])
    assert len(set(column.names.tolist())) == len(values)


def test_whole_numbers_are_written_in_full():
    column = by_name([{"year": 1940 + i % 70, "exam": 10_000 * i} for i in range(700)])
    assert column["year"].levels == ("1940-1953", "1954-1967", "1968-1981", "1982-1995", "1996-2009")
    assert not any("e+" in level for level in column["exam"].levels)
    below = by_name([{"psa": f"<{i % 50}"} for i in range(200)])["psa"]
    assert below.levels[0] == "0-9"


def test_long_values_that_begin_alike_are_levels_of_their_own():
    long = "Acquired at the outpatient department of the university hospital, with the older of the two dermatoscopes"
    rows = [{"device": f"{long}, {side}"} for side in ("left", "right", "Left") for _ in range(20)]
    (column,) = read_columns(rows)
    assert len(column.levels) == 2
    assert all(level.startswith("Acquired at the outpatient") and len(level) <= 80 for level in column.levels)
    assert column.codes.tolist() == [column.codes[0]] * 20 + [column.codes[20]] * 20 + [column.codes[0]] * 20
    assert column.encode(rows).codes.tolist() == column.codes.tolist()
