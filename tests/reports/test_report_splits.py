"""Pictures of who had which data: what is drawn and listed is what the records hold."""

from __future__ import annotations

import re

import pytest

from normzoo_reports import report
from normzoo_reports.drawing.splits import pictures
from normzoo_suites import read_run

LABELS = [[8, 0, 2], [0, 5, 5]]
MANIFEST = "0123456789abcdef"


@pytest.fixture
def split_run(make_run, tiny, measured):
    """Write a run whose cells at 5 ranks tell of this split; give its folder."""

    def write(labels=LABELS, **told):
        def measure(cell):
            split = {"manifest": MANIFEST, "labels": labels} | told if cell.settings.ranks == 5 else {}
            return measured(cell) | {"split": split}

        return make_run(tiny(2), measure)

    return write


def diameters(svg):
    """Give the dots' diameters in the order in which they are drawn: each is a path of its own."""
    group = svg[svg.index("PathCollection") :]
    paths = re.findall(r'<path d="([^"]*)"', group[: group.index("</g>")])
    places = [[float(x) for x in re.findall(r"[MC ]([\d.]+) [\d.]+", path)] for path in paths]
    return [max(own) - min(own) for own in places]


def test_there_is_one_picture_for_each_way_of_splitting_whoever_was_measured(split_run):
    (picture,) = pictures(read_run(split_run()))
    assert picture.name == "ranks 5 (8 each)"


def test_the_table_holds_the_counts(split_run):
    (picture,) = pictures(read_run(split_run()))
    assert picture.rows == (("0", (8, 0, 2)), ("1", (0, 5, 5)))
    assert picture.classes == 3


def test_a_dot_s_area_is_the_class_s_share_of_the_rank(split_run):
    (picture,) = pictures(read_run(split_run()))
    eight, two, five, other = (diameter**2 for diameter in diameters(picture.drawing.svg("s1")))
    assert [eight / two, five / two, other / two] == pytest.approx([4, 2.5, 2.5], rel=0.01)


def test_no_picture_where_no_record_tells_of_a_split(make_run, tiny):
    folder = make_run(tiny(2))
    assert pictures(read_run(folder)) == []
    assert "Who had which data" not in report(folder).read_text(encoding="utf-8")


def test_the_page_names_seed_manifest_and_what_is_left_out(split_run):
    page = report(split_run(note="of 128 ranks the first 64")).read_text(encoding="utf-8")
    assert f"Seed 0; manifest {MANIFEST}; of 128 ranks the first 64." in page
    assert '<td class="num">8</td><td class="num">0</td><td class="num">2</td><td class="num">10</td>' in page


def test_more_rows_than_can_be_read_are_listed_and_not_drawn(split_run):
    (picture,) = pictures(read_run(split_run(labels=[[1, 1]] * 40)))
    assert len(picture.rows) == 40
    assert "the first 32 of 40 rows are drawn" in picture.told
