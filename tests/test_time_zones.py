"""Dates and times are the same in every time zone of the machine, on the day when its clocks are put forward, too."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

import pytest

from cdsel_backend.labelstudio.changes import _Watermark
from cdsel_backend.labelstudio.times import read_time, seconds_of
from cdsel_backend.pool.column_reading import read_columns
from cdsel_backend.server.pages.blueprint import moment

# St. John's puts its clocks forward by an hour in the night of 10 March 2024, Berlin on 31 March.
ZONES = ("UTC", "Asia/Kolkata", "America/St_Johns", "Europe/Berlin", "Pacific/Kiritimati")
DAYS = [datetime(2024, 3, 1) + timedelta(hours=7 * n) for n in range(120)]
FIELDS = {
    "iso": "%Y-%m-%d",
    "compact": "%Y%m%d",
    "clinic": "%d.%m.%Y",
    "second": "%Y-%m-%d %H:%M:%S",
    "zoned": "%Y-%m-%dT%H:%M:%S+05:30",
}


def read():
    """Everything that is made of a date or a time."""
    rows = [{name: day.strftime(form) for name, form in FIELDS.items()} for day in DAYS]
    columns = {
        column.name: (column.levels, column.edges, column.dated, column.codes.tolist())
        for column in read_columns(rows)
    }
    moments = [seconds_of(day.isoformat()) for day in DAYS] + [
        seconds_of(f"{day.isoformat()}Z") for day in DAYS
    ]
    pages = [moment(seconds) for seconds in moments]
    since = [_Watermark(f"{day.isoformat()}.000001Z", 1, 0.0).since() for day in DAYS]
    return columns, moments, pages, since


@pytest.fixture
def zone(monkeypatch):
    """A function that sets the machine's time zone."""

    def put(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield put
    monkeypatch.undo()
    time.tzset()


def test_dates_and_times_are_the_same_in_every_time_zone(zone):
    found = []
    for name in ZONES:
        zone(name)
        found.append(read())
    assert [one == found[0] for one in found] == [True] * len(ZONES)
    columns, moments, pages, since = found[0]
    assert all(columns[name][2] for name in FIELDS), "each is read as a date"
    assert moments[0] == moments[len(DAYS)] == DAYS[0].replace(tzinfo=timezone.utc).timestamp()
    assert pages[0] == "2024-03-01 00:00:00"
    assert since[0] == "2024-02-29T23:59:00.000001Z"


def test_the_zones_differ(zone):
    zone("Asia/Kolkata")
    assert time.strftime("%z", time.localtime(0)) == "+0530"
    zone("America/St_Johns")
    offsets = {time.localtime(day.replace(tzinfo=timezone.utc).timestamp()).tm_gmtoff for day in DAYS}
    assert len(offsets) == 2, "the clocks were put forward within these days"


def test_what_changed_is_asked_for_in_the_zone_in_which_label_studio_writes(zone):
    """Its filters know no offset: they read a time as one of their own zone, whatever ours is."""
    zone("Asia/Tokyo")
    changed = (
        "2026-03-08T03:00:30.000001-07:00"  # half a minute after the clocks of Los Angeles were put forward
    )
    assert _Watermark(changed, 1, 0.0, settled=True).since() == "2026-03-08T03:00:30.000001Z"
    assert _Watermark(changed, 1, 0.0).since() == "2026-03-08T01:59:30.000001Z"
    assert _Watermark("2026-03-08T10:00:30.000001Z", 1, 0.0).since() == "2026-03-08T09:59:30.000001Z"
    assert read_time("2026-03-08T10:00:30.000001") == read_time(changed)
