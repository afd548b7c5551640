"""The page in a browser: what its script does, and what a reader without a mouse, a network or good eyes meets.

Needs Chromium (Debian's package `chromium`, or any that `shutil.which` finds); without one these tests are skipped.
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from normzoo_reports import compare, report
from normzoo_suites import Cell, Suite, read_run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; on Debian `apt-get install chromium` brings one"),
]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 800}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # the sandbox needs rights that containers lack; the pages are our own
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a page with the network blocked; whatever it complains of or asks for fails the test."""
    contexts, complaints = [], []

    def go(file: Path, at: str = "", viewport: Any = DESKTOP, **options: Any) -> Page:
        context = browser.new_context(viewport=viewport, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith("file:") else complaints.append(request.url))
        page.goto(file.resolve().as_uri() + at)
        return page

    yield go
    for context in contexts:
        context.close()
    assert complaints == []


def overflow(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


def shown(found: Locator) -> list[str]:
    return [one.inner_text() for one in found.all() if one.is_visible()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_no_violation_and_nothing_overflows(
    visit: Callable[..., Page], quick_page: Path, viewport: Any, scheme: str
) -> None:
    page = visit(quick_page, viewport=viewport, color_scheme=scheme)
    for folded in page.locator("main details").all()[:3]:
        folded.evaluate("one => one.open = true")
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["target"]) for one in found] == []
    assert overflow(page) <= 0


def test_a_chip_hides_a_normalizer_everywhere_and_brings_it_back(visit: Callable[..., Page], quick_page: Path) -> None:
    page = visit(quick_page)
    rows, marks = page.locator("tr[data-normalizer=group_norm]"), page.locator("svg [data-series=group_norm]")
    assert rows.first.is_visible()
    assert marks.first.is_visible()
    page.get_by_role("button", name="group_norm").first.click()
    assert shown(rows) == []
    assert not any(mark.is_visible() for mark in marks.all())
    assert page.locator("tr[data-normalizer=batch_norm]").first.is_visible()
    assert page.locator("#shown").inner_text().startswith("5 of 6 normalizers")
    page.get_by_role("button", name="show all").click()
    assert rows.first.is_visible()
    assert marks.first.is_visible()


def test_a_setting_narrows_tables_marks_and_records_to_it(visit: Callable[..., Page], quick_page: Path) -> None:
    page = visit(quick_page)
    page.locator("select[data-key=split]").select_option("exclusive_classes")
    assert not any("ranks 20" in one for one in shown(page.locator("#reproduce details > summary")))
    assert any("exclusive_classes" in one for one in shown(page.locator("#reproduce details > summary")))
    # what has no split, as a layer's timing, stays
    assert page.locator("#throughput tbody tr").first.is_visible()
    by_split = page.locator("table", has=page.locator("th", has_text="exclusive_classes")).first
    assert not by_split.locator("th", has_text="iid").first.is_visible()
    dimmed = page.locator("[data-cell]").evaluate_all("all => all.filter(one => one.style.opacity).length")
    assert 0 < dimmed < page.locator("[data-cell]").count()


def test_a_metric_leaves_only_what_is_of_it(visit: Callable[..., Page], quick_page: Path) -> None:
    page = visit(quick_page)
    page.locator("select[name=metric]").select_option("step_ms_ratio")
    left = page.locator("main [data-metric]").all()
    assert {one.get_attribute("data-metric") for one in left if one.is_visible()} == {"step_ms_ratio"}


def test_a_table_sorts_by_value_up_and_down_and_back(visit: Callable[..., Page], quick_page: Path) -> None:
    page = visit(quick_page)
    table = page.locator("main table").first
    before = [row.inner_text() for row in table.locator("tbody th").all()]
    button = table.locator("th button").nth(1)

    def column() -> list[float]:
        return [float(cell.inner_text().split(" %")[0]) for cell in table.locator("tbody td:nth-child(2) b").all()]

    button.click()
    assert column() == sorted(column())
    assert table.locator("th").nth(1).get_attribute("aria-sort") == "ascending"
    button.click()
    assert column() == sorted(column(), reverse=True)
    button.click()
    assert [row.inner_text() for row in table.locator("tbody th").all()] == before


def test_the_pointer_tells_a_marks_value_as_its_table_has_it(visit: Callable[..., Page], quick_page: Path) -> None:
    page = visit(quick_page)
    mark = page.locator("use[data-cell]").first
    mark.evaluate("one => one.scrollIntoView({block: 'center'})")  # from under the bar of filters
    mark.hover()
    told = page.locator(".tip").inner_text()
    value = page.locator("main table").first.locator("tbody td b").first.inner_text()
    assert told.startswith("batch_norm, samples per statistic ")
    assert value in told


def test_a_link_to_a_cell_opens_it_and_its_details(visit: Callable[..., Page], quick_page: Path) -> None:
    run = read_run(quick_page.parent)
    cell = next(one for one in run.cells if run.records[one.id].series and one.same_as is None)
    page = visit(quick_page, f"#cell-{cell.id}")
    block = page.locator(f"#cell-{cell.id}")
    assert block.is_visible()
    block.locator("summary").first.click()
    assert "train_loss" in block.locator("svg.plot").first.get_attribute("aria-label")
    assert f"epochs {cell.settings.model_dump()['epochs']}" in block.inner_text()


def test_a_link_to_what_is_filtered_away_shows_it_again(visit: Callable[..., Page], quick_page: Path) -> None:
    page = visit(quick_page)
    page.get_by_role("button", name="group_norm").first.click()
    cell = next(one for one in read_run(quick_page.parent).cells if one.settings.normalizer == "group_norm")
    page.evaluate(f"location.hash = 'cell-{cell.id}'")
    page.wait_for_function(f"document.getElementById('cell-{cell.id}').checkVisibility()")


@pytest.mark.parametrize("place", ["claims", "figure-1", "environment", "reproduce"])
def test_sections_and_figures_have_addresses_that_their_headings_tell(
    visit: Callable[..., Page], quick_page: Path, place: str
) -> None:
    page = visit(quick_page, f"#{place}")
    assert page.locator(f"#{place}").bounding_box()["y"] < DESKTOP["height"]
    assert page.locator(f"#{place} :is(h2, h3) a[href='#{place}']").count() == 1


def test_learning_curves_follow_the_filters(visit: Callable[..., Page], quick_page: Path) -> None:
    page = visit(quick_page)
    assert page.locator("#curves svg polyline").count() > 0
    assert "group_norm (10)" in page.locator("#curves .place").inner_text()
    page.get_by_role("button", name="group_norm").first.click()
    assert "group_norm" not in page.locator("#curves .place").inner_text()


def test_the_keyboard_reaches_filters_sorting_and_records(visit: Callable[..., Page], quick_page: Path) -> None:
    page = visit(quick_page)
    reached = set()
    for _ in range(140):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className + ' ' + document.activeElement.tagName"))
    assert {"toggle BUTTON", " SELECT", "sort BUTTON", " A", "scroll drawing DIV"} <= reached
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details").first.get_attribute("open") is not None


def test_without_a_script_the_page_tells_its_story(visit: Callable[..., Page], quick_page: Path) -> None:
    page = visit(quick_page, java_script_enabled=False)
    assert not page.locator("#filters").is_visible()
    assert not page.locator("#curves").is_visible()
    assert page.locator("main svg").first.is_visible()
    assert page.locator("main table").first.is_visible()
    assert "supported" in page.locator("header").inner_text()
    assert page.locator("use title").first.text_content()


def test_on_paper_nothing_is_cut_and_nothing_asks_for_a_click(visit: Callable[..., Page], quick_page: Path) -> None:
    page = visit(quick_page, viewport={"width": 720, "height": 1000})  # A4 between its margins
    page.emulate_media(media="print")
    assert not page.locator("#filters").is_visible()
    assert overflow(page) <= 0
    wide = page.locator(".scroll").evaluate_all("all => all.filter(one => one.scrollWidth > innerWidth).length")
    assert wide == 0


def test_a_setting_leaves_no_heading_of_readings_without_a_row(visit: Callable[..., Page], tuned_page: Path) -> None:
    page = visit(tuned_page)
    parts = page.locator("#readings .part > h3")
    assert len(shown(parts)) == 2
    page.locator("select[data-key=ranks]").select_option("20")
    assert [one.split("\n")[0].removesuffix(" #") for one in shown(parts)] == ["ranks 20 (2 each)"]
    page.get_by_role("button", name="batch_norm", exact=True).first.click()
    assert not page.locator("#readings h2").is_visible()
    left = shown(page.locator("#reproduce > details > summary"))
    assert left
    assert not any(one.startswith("batch_norm") for one in left)
    page.get_by_role("button", name="show all").click()
    assert len(shown(parts)) == 2


def test_a_metric_leaves_no_section_of_other_metrics_tables(visit: Callable[..., Page], quick_page: Path) -> None:
    page = visit(quick_page)
    page.locator("select[name=metric]").select_option("test_accuracy")
    assert not page.locator("#throughput").is_visible()
    page.locator("nav a[href='#throughput']").click()
    page.wait_for_function("document.getElementById('throughput').checkVisibility()")


@pytest.mark.parametrize("scripted", [True, False], ids=["script", "no script"])
def test_a_score_leads_to_its_trial_with_a_script_and_without(
    visit: Callable[..., Page], tuned_page: Path, scripted: bool
) -> None:
    page = visit(tuned_page, java_script_enabled=scripted)
    link = page.locator("#tuning tbody td a").first
    block = page.locator(link.get_attribute("href"))
    assert not block.is_visible()
    link.click()
    block.wait_for(state="visible")
    if scripted:
        block.locator("summary").first.click()
        assert "evaluate_on validation" in block.inner_text()


def test_a_log_is_wrapped_and_as_it_was_printed_on_a_phone(
    visit: Callable[..., Page],
    make_run: Callable[..., Path],
    tiny: Callable[[int], Suite],
    measured: Callable[[Cell], Any],
) -> None:
    log = "  indented\n" + "x" * 3000 + "\n\u202e<script>document.title = 'obeyed'</script>"

    def some(cell: Cell) -> dict[str, Any]:
        failed = cell.settings.model_dump()["seed"] == 1
        return {"status": "crashed", "reason": "gone", "log": log} if failed else measured(cell) | {"log": log}

    folder = make_run(tiny(2), some)
    measured_one, failed_one = (next(c for c in read_run(folder).cells if c.settings.replicate == n) for n in (0, 1))
    page = visit(report(folder), f"#cell-{measured_one.id}", viewport=PHONE)
    places = [page.locator("#cells"), page.locator(f"#cell-{measured_one.id}"), page.locator(f"#cell-{failed_one.id}")]
    for place in places:
        place.evaluate("one => one.closest('details') && (one.closest('details').open = true)")
        if place.locator("details.more").count():
            place.locator("summary").first.click()
        place.locator("details.log > summary").first.click()
        shown_log = place.locator(".log pre").first
        assert shown_log.evaluate("one => one.textContent") == log.replace("\u202e", "[U+202E]")
        assert shown_log.evaluate("one => one.scrollWidth - one.clientWidth") <= 0
        assert shown_log.evaluate("one => one.scrollHeight > one.clientHeight")  # a log does not fill the page
    assert overflow(page) <= 0
    assert page.title() == "tiny · normzoo report"
    assert Axe().run(page).response["violations"] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_goes_on_sideways_is_shaded_at_that_edge_until_its_end(
    visit: Callable[..., Page], quick_page: Path, scheme: str
) -> None:
    page = visit(quick_page, viewport=PHONE, color_scheme=scheme)
    box = page.locator(".scroll.drawing").first
    box.scroll_into_view_if_needed()

    def edges() -> tuple[Any, Any]:
        seen = Image.open(io.BytesIO(box.screenshot())).convert("RGB")
        return seen.getpixel((1, 3)), seen.getpixel((seen.width - 2, 3))

    (left, right), paper = edges(), page.evaluate("getComputedStyle(document.body).backgroundColor")
    plain = tuple(int(part) for part in re.findall(r"\d+", paper)[:3])
    assert left == plain
    assert sum(abs(one - other) for one, other in zip(right, plain, strict=True)) > 60
    box.evaluate("one => { one.scrollLeft = one.scrollWidth; }")
    (left, right) = edges()
    assert right == plain
    assert sum(abs(one - other) for one, other in zip(left, plain, strict=True)) > 60


def test_hostile_names_reach_the_script_as_text(
    visit: Callable[..., Page],
    make_run: Callable[..., Path],
    tiny: Callable[[int], Suite],
    measured: Callable[[Cell], Any],
) -> None:
    from normzoo_suites import change_suite

    evil = "<script>alert</script><!--\"'&"
    suite = change_suite(tiny(2), add_normalizers=[evil])
    reason = "</script><script>document.title = 'obeyed'</script>"
    page = visit(
        report(
            make_run(
                suite,
                lambda cell: (
                    {"status": "error", "reason": reason} if "<" in cell.settings.normalizer else measured(cell)
                ),
            )
        )
    )
    assert page.title() == "tiny · normzoo report"
    assert page.locator("#filters .toggle", has_text=evil).count() == 1
    page.locator("#filters .toggle", has_text=evil).click()
    assert page.locator("#shown").inner_text().startswith("2 of 3")


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_no_violation_in_a_comparison_and_nothing_overflows(
    visit: Callable[..., Page], make_run: Any, tiny: Any, measured: Any, tmp_path: Path, viewport: Any
) -> None:
    def lower(cell: Cell) -> dict[str, Any]:
        told = measured(cell)
        told["metrics"]["test_accuracy"] -= 0.01 * cell.settings.replicate
        return told | {"environment": {"torch": "3.0"}}

    a, b = make_run(tiny(6), measured, name="a"), make_run(tiny(6), lower, name="b")
    compare(a, b, ["test_accuracy:-0.5pp"], tmp_path / "compare.html")
    page = visit(tmp_path / "compare.html", viewport=viewport)
    for folded in page.locator("main details").all():
        folded.evaluate("one => one.open = true")
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["target"]) for one in found] == []
    assert overflow(page) <= 0
