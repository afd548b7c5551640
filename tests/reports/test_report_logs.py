"""What a worker printed last: in a record's details, and, where a cell came to a bad end, beside its reason."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normzoo_reports import report
from normzoo_reports.plain import LOG_LETTERS, printed
from normzoo_suites import Cell, Suite

MakeRun = Callable[..., Path]
Tiny = Callable[[int], Suite]


def island(page: Path) -> Any:
    text = page.read_text(encoding="utf-8")
    (held,) = re.findall('<script type="application/json" id="data">(.*?)</script>', text, flags=re.DOTALL)
    return json.loads(held)


def logs(page: Path) -> list[tuple[str, str]]:
    """Whose logs stand on the page itself, and what they say."""
    one = r'<details class="log"><summary>[^<]*<bdi>(.*?)</bdi></summary><pre tabindex="0">(.*?)</pre></details>'
    return re.findall(one, page.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize(
    ("status", "stands"),
    [("crashed", True), ("timeout", True), ("error", True), ("oom", False), ("skipped", False), ("diverged", False)],
)
def test_the_log_of_a_cell_that_was_cut_short_stands_below_its_reason(
    make_run: MakeRun, tiny: Tiny, measured: Callable[[Cell], Any], status: str, stands: bool
) -> None:
    def some(cell: Cell) -> dict[str, Any]:
        if (cell.settings.normalizer, cell.settings.ranks, cell.settings.replicate) != ("batch_norm", 5, 1):
            return measured(cell) | {"log": "all is well"}
        return {"status": status, "reason": "it ended", "log": "Segmentation <fault>\n"}

    told = [("batch_norm, ranks 5 (8 each), seed 1", "Segmentation &lt;fault&gt;\n")]
    assert logs(report(make_run(tiny(2), some))) == (told if stands else [])


def test_every_record_has_its_log_among_the_details_and_one_log_of_several_stands_once(
    make_run: MakeRun, tiny: Tiny, measured: Callable[[Cell], Any]
) -> None:
    def together(cell: Cell) -> dict[str, Any]:
        return measured(cell) | {"log": f"seed {cell.settings.replicate}" if cell.settings.ranks > 1 else ""}

    held = island(report(make_run(tiny(3), together)))
    assert sorted(held["logs"]) == ["seed 0", "seed 1", "seed 2"]
    for told in held["cells"].values():
        wanted = f"seed {told['settings']['seed']}" if told["settings"]["ranks"] != "1" else None
        assert ("log" in told) == (wanted is not None)
        assert wanted is None or held["logs"][told["log"]] == wanted


def test_cells_that_ended_together_have_one_log_and_it_says_so(make_run: MakeRun, tiny: Tiny) -> None:
    page = report(make_run(tiny(2), lambda cell: {"status": "crashed", "reason": "gone", "log": "one for all"}))
    assert logs(page) == [("batch_norm, ranks 1 (40 each), seed 0 and 11 more", "one for all")]


def test_of_many_logs_of_one_reason_three_stand_on_the_page_and_the_others_are_counted(
    make_run: MakeRun, tiny: Tiny
) -> None:
    page = report(make_run(tiny(2), lambda cell: {"status": "timeout", "reason": "late", "log": f"of {cell.id}"}))
    assert len(logs(page)) == 3
    assert "9 other logs: in the records." in page.read_text(encoding="utf-8")


def test_logs_of_many_reasons_do_not_fill_the_page(make_run: MakeRun, tiny: Tiny) -> None:
    page = report(make_run(tiny(10), lambda cell: {"status": "error", "reason": cell.id, "log": f"of {cell.id}"}))
    assert len(logs(page)) == 40
    assert page.read_text(encoding="utf-8").count("1 other log: in the records.") == 20


def test_sixty_records_with_long_logs_make_a_page_under_one_and_a_half_mb(
    make_run: MakeRun, tiny: Tiny, measured: Callable[[Cell], Any]
) -> None:
    def chatty(cell: Cell) -> dict[str, Any]:
        log = (f"{cell.id}: <warning> & more\n" * 400)[:4000]
        bad = {"status": "crashed", "reason": cell.id, "log": log}
        return bad if cell.settings.replicate % 2 else measured(cell) | {"log": log}

    assert report(make_run(tiny(10), chatty)).stat().st_size < 1_500_000


def test_a_line_that_was_written_over_becomes_lines_and_what_cannot_be_shown_is_spelt_out() -> None:
    assert printed(" 1 %\r 2 %\r\n\x1b[31mred\u202e\n") == " 1 %\n 2 %\n[U+001B][31mred[U+202E]\n"


def test_of_a_strangers_endless_log_the_end_is_shown_and_no_mark_of_its_lost_beginning_is_obeyed() -> None:
    found = printed("\u2067" + "x" * 10**6 + "\u2069 end")
    assert found.endswith("x[U+2069] end")
    assert len(found) < LOG_LETTERS + 10


def test_a_log_is_never_taken_for_markup(make_run: MakeRun, tiny: Tiny) -> None:
    evil = "</pre></script><script>alert(1)</script><!--"
    page = report(make_run(tiny(1), lambda cell: {"status": "crashed", "reason": "gone", "log": evil}))
    assert evil not in page.read_text(encoding="utf-8")
    assert island(page)["logs"] == [evil]


def test_an_empty_log_is_not_shown(make_run: MakeRun, tiny: Tiny) -> None:
    assert logs(report(make_run(tiny(1), lambda cell: {"status": "crashed", "reason": "gone", "log": " \n"}))) == []
