"""Pictures: what they show, that they are well-formed, and that no name can break out of them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from cdsel_backend import figures
from cdsel_backend.figures import Line, Point
from cdsel_backend.figures.plane import round_ticks

NASTY = "<script>alert('x')</script>&\""


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(re.sub(r' xmlns="[^"]+"', "", svg))


def marks(svg: str) -> list[tuple[float, float]]:
    return [(float(c.get("cx")), float(c.get("cy"))) for c in parse(svg).iter("circle")]


def rectangles(svg: str) -> list[dict[str, float]]:
    names = ("x", "y", "width", "height")
    return [{name: float(r.get(name)) for name in names} for r in parse(svg).iter("rect")]


def test_lines_put_larger_values_higher_and_more_labels_to_the_right():
    svg = figures.lines([Line("a", [100, 200, 400], [0.3, 0.5, 0.4])], x_label="labels", y_label="accuracy")
    (x1, y1), (x2, y2), (x3, y3) = marks(svg)
    assert x1 < x2 < x3
    assert y2 < y3 < y1
    assert (x3 - x2) == pytest.approx(2 * (x2 - x1), abs=0.3)


def test_a_band_reaches_from_low_to_high_around_its_line():
    svg = figures.lines(
        [Line("a", [1, 2], [0.5, 0.5], [0.4, 0.4], [0.6, 0.6], tone="first")], x_label="x", y_label="y"
    )
    (_, line), _ = marks(svg)
    ring = [tuple(map(float, p.split(","))) for p in parse(svg).find(".//polygon").get("points").split()]
    assert min(y for _, y in ring) < line < max(y for _, y in ring)
    assert len(ring) == 4


def test_a_band_that_is_not_known_is_not_drawn():
    unknown = [float("nan")] * 2
    line = Line("a", [1, 2], [0.1, 0.2], unknown, unknown, tone="first")
    assert "nan" not in figures.lines([line], x_label="x", y_label="y")


def test_points_that_are_not_finite_are_left_out_and_none_at_all_is_an_error():
    svg = figures.lines([Line("a", [1, 2, 3], [0.1, np.nan, 0.3])], x_label="x", y_label="y")
    assert len(marks(svg)) == 2
    assert "nan" not in svg
    with pytest.raises(ValueError, match="no finite point"):
        figures.lines([Line("a", [1.0], [np.nan])], x_label="x", y_label="y")
    with pytest.raises(ValueError, match="no finite point"):
        figures.scatter([], x_label="x", y_label="y")


def test_the_pareto_front_is_what_no_other_reaches_in_both():
    rng = np.random.default_rng(0)
    values = rng.random((60, 2))
    front = figures.pareto(values)
    for i, one in enumerate(values):
        beaten = any((other >= one).all() and (other > one).any() for other in values)
        assert (i in front) == (not beaten)
    assert list(values[front, 0]) == sorted(values[front, 0], reverse=True)


def test_bounds_are_drawn_but_never_on_the_front():
    points = [Point("a", 0.5, 0.5, "first"), Point("bound", 0.9, 0.9, "bound")]
    svg = figures.scatter(points, x_label="x", y_label="y")
    assert len(marks(svg)) == 2
    ends = parse(svg).find(".//polyline").get("points").split()
    assert ends == [f"{marks(svg)[1][0]:.1f},{marks(svg)[1][1]:.1f}"]


def test_names_in_a_scatter_do_not_lie_on_each_other():
    points = [Point(f"name {i}", 0.5, 0.5 + i / 1e4, labelled=True) for i in range(6)]
    svg = figures.scatter([*points, Point("far", 0.1, 0.1)], x_label="x", y_label="y")
    rows = sorted(float(t.get("y")) for t in parse(svg).iter("text") if (t.text or "").startswith("name"))
    assert np.diff(rows).min() >= 12.5


def test_bars_are_as_long_as_their_values_and_go_left_of_the_reference():
    svg = figures.bars(["a", "b", "c"], [0.1, 0.2, -0.1], [0.0, 0.1, -0.2], [0.2, 0.3, 0.0], x_label="gain")
    a, b, c = rectangles(svg)
    assert b["width"] == pytest.approx(2 * a["width"], abs=0.3)
    assert c["x"] + c["width"] == pytest.approx(a["x"], abs=0.2)
    assert svg.count('class="whisker"') == 3


def test_bars_on_a_log_scale_grow_by_one_step_for_ten_times_as_much():
    a, b, c = rectangles(figures.bars(["a", "b", "c"], [0.02, 0.2, 2.0], log=True))
    assert c["width"] - b["width"] == pytest.approx(b["width"] - a["width"], abs=0.3)


def test_bars_refuse_lengths_that_differ():
    with pytest.raises(ValueError, match="2 names, 1 values"):
        figures.bars(["a", "b"], [1.0])


def test_the_areas_of_a_mosaic_are_the_counts():
    counts = np.array([[30, 10], [10, 50]])
    areas = [
        r["width"] * (r["height"] + 1.5)
        for r in rectangles(figures.mosaic(counts, ["no", "yes"], ["a", "b"]))
    ]
    shares = np.array(areas).reshape(2, 2).T / sum(areas)
    np.testing.assert_allclose(shares, counts / counts.sum(), atol=0.005)
    with pytest.raises(ValueError, match="names 1 by 2"):
        figures.mosaic(counts, ["no"], ["a", "b"])


def test_a_mosaic_with_an_empty_column_is_drawn():
    assert "nan" not in figures.mosaic([[0, 5], [0, 5]], ["no", "yes"], ["a", "b"])
    assert "nan" not in figures.mosaic([[0, 0]], ["no"], ["a", "b"])


def test_a_heat_table_marks_the_best_of_a_column_that_is_no_bound():
    html = figures.heat_table(
        [[0.5, np.nan], [0.7, 0.1], [0.9, 0.9]], ["a", "b", "c"], ["x", "y"], bounds=[2]
    )
    root = ElementTree.fromstring(html.replace("class=best", 'class="best"'))
    best = [cell.text for cell in root.iter("td") if cell.get("class") == "best"]
    assert best == ["0.700", "0.100"]
    assert [e.text for e in root.iter("em")] == ["c"]
    assert "–" in html


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.lines([Line(NASTY, [1, 2], [1, 2])], x_label=NASTY, y_label=NASTY, title=NASTY),
        lambda: figures.scatter(
            [Point(NASTY, 1, 1, labelled=True)], x_label=NASTY, y_label=NASTY, title=NASTY
        ),
        lambda: figures.bars([NASTY, "b"], [1, 2], x_label=NASTY, title=NASTY),
        lambda: figures.mosaic([[1, 2]], [NASTY], [NASTY, "b"], title=NASTY),
        lambda: figures.heat_table([[1.0]], [NASTY], [NASTY], corner=NASTY).replace(
            "class=best", 'class="b"'
        ),
        lambda: figures.legend([(NASTY, "first")]),
        lambda: figures.row_legend([NASTY]),
    ],
)
def test_no_name_breaks_out_of_a_picture(draw):
    made = draw()
    assert "<script" not in made
    parse(made)


def test_ticks_are_round_and_inside():
    rng = np.random.default_rng(1)
    for _ in range(200):
        low = float(rng.normal())
        high = low + float(10 ** rng.uniform(-4, 4))
        ticks = round_ticks(low, high, 5)
        assert 2 <= len(ticks) <= 7
        assert low - 1e-9 <= ticks[0]
        assert ticks[-1] <= high * (1 + 1e-9) + 1e-9


def test_long_names_stand_over_their_bars_and_stay_apart():
    names = ["pneumothorax absent, site hillside", "pneumothorax absent, site riverside"]
    drawn = figures.bars(names, [0.5, 0.6])
    assert all(f">{name}</text>" in drawn for name in names)
    places = [float(x) for x in re.findall(r'<rect class="bar" x="([\d.]+)"', drawn)]
    assert max(places) < 20  # the bars have the whole width


def test_a_name_is_cut_where_its_letters_no_longer_fit():
    drawn = figures.bars(["W" * 300, "i" * 300], [0.4, 0.6])
    wide, narrow = re.findall(r'class="halo"[^>]*>([^<]*…)<', drawn)
    assert 20 < len(wide) < 32
    assert len(narrow) == 50


def test_names_that_would_read_the_same_begin_where_they_differ():
    names = ["University Hospital of Northern Saxony", "University Hospital of Southern Saxony", "Klinik 4"]
    drawn = figures.mosaic([[5, 5, 3], [3, 5, 5]], ["no", "yes"], names)
    shown = re.findall(r'text-anchor="middle">([^<%]*)<', drawn)
    assert [name[:6] for name in shown] == ["…North", "…South", "Klinik"]
    assert "University Hospital of Northern Saxony: 5" in drawn  # to whoever points at it
