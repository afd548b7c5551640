"""What was found, in sentences: never surer than the numbers are."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normzoo_reports import report, summary
from normzoo_reports.findings.contest import Entrant, candidates, contest, differences, named, pairs_needed
from normzoo_reports.findings.standings import judged
from normzoo_suites import Cell, Suite, change_suite, load_suite

Make = Callable[..., Path]
Tiny = Callable[[int], Suite]

LAYERS = str(Path(__file__).parent / "layers.toml")


def planted(levels: dict[str, float], chance: float = 0.1) -> Callable[[Cell], dict[str, Any]]:
    """Give every normalizer its level, and every seed what it adds to all of them."""

    def measure(cell: Cell) -> dict[str, Any]:
        settings = cell.settings.model_dump()
        accuracy = levels[settings["normalizer"]] + 0.002 * settings["seed"]
        return {"metrics": {"test_accuracy": accuracy, "chance_accuracy": chance}}

    return measure


def said(folder: Path) -> list[str]:
    return [one.whole for one in summary(folder).overview.sentences]


def how(folder: Path) -> str:
    return " ".join(summary(folder).overview.how)


def one_condition(tiny: Tiny, seeds: int, *normalizers: str) -> Suite:
    return change_suite(tiny(seeds), {"ranks": "1"}, normalizers=list(normalizers))


THREE = ("batch_norm", "group_norm", "layer_norm")


def entrant(name: str, *values: float, **more: Any) -> Entrant:
    return Entrant((name,), dict(enumerate(values)), **more)


def test_a_planted_winner_is_named_with_its_lead_over_the_next_and_over_batch_norm(make_run: Make, tiny: Tiny) -> None:
    levels = {"batch_norm": 0.90, "group_norm": 0.95, "layer_norm": 0.93}
    (sentence,) = said(make_run(one_condition(tiny, 10, *THREE), planted(levels)))
    # the mean of 0.000 to 0.018 is 0.009; the differences are the same under every seed
    assert sentence == (
        "group_norm is highest, 95.9 %: 2.0 points [2.0, 2.0] above layer_norm, 5.0 points [5.0, 5.0] above "
        "batch_norm; the lowest mean is batch_norm's, 90.9 %."
    )


def test_a_tie_is_no_difference_and_who_is_lower_is_told_by_how_much(make_run: Make, tiny: Tiny) -> None:
    """Layer norm leads group norm by +1 and −1 point in turn: its mean is 0.2 points ahead, in 6 of 10 seeds."""

    def measure(cell: Cell) -> dict[str, Any]:
        told = planted({"batch_norm": 0.90, "group_norm": 0.95, "layer_norm": 0.95})(cell)
        if cell.settings.normalizer == "layer_norm":
            told["metrics"]["test_accuracy"] += 0.01 if cell.settings.seed in (0, 1, 2, 3, 4, 5) else -0.01
        return told

    (sentence,) = said(make_run(one_condition(tiny, 10, *THREE), measure))
    assert sentence.startswith("no difference found between layer_norm and group_norm (96.1 to 95.9 %), 0.2 points [")
    assert "; lower than the highest mean: batch_norm by 5.2 points [" in sentence


def test_conditions_that_say_the_same_are_one_sentence_which_tells_the_smallest_lead(
    make_run: Make, tiny: Tiny
) -> None:
    def measure(cell: Cell) -> dict[str, Any]:
        lead = {1: 0.05, 5: 0.02, 20: 0.07}[cell.settings.model_dump()["ranks"]]
        return planted({"batch_norm": 0.90, "group_norm": 0.90 + lead})(cell)

    (sentence,) = said(make_run(tiny(10), measure))
    assert sentence == (
        "ranks 1 (40 each); ranks 5 (8 each); ranks 20 (2 each): group_norm is highest, 92.9 to 97.9 %: 2.0 points "
        "[2.0, 2.0] (under ranks 5 (8 each), elsewhere no less) above batch_norm."
    )


def test_who_keeps_less_than_half_of_what_is_above_chance_collapses(make_run: Make, tiny: Tiny) -> None:
    """Above a chance of 10 % the highest has 80 points: 49 % are less than half of them, and 51 % are not."""
    levels = {"batch_norm": 0.49, "group_norm": 0.90, "layer_norm": 0.51}
    (sentence,) = said(folder := make_run(one_condition(tiny, 10, *THREE), planted(levels)))
    assert sentence.endswith("; batch_norm collapses to 49.9 %.")
    assert "Collapse: less than half is left" in how(folder)
    assert "collapse" not in said(make_run(one_condition(tiny, 10, *THREE), planted(levels, 0.0), name="no"))[0]


@pytest.mark.parametrize("seeds", [1, 5])
def test_below_six_seeds_nobody_is_named(make_run: Make, tiny: Tiny, seeds: int) -> None:
    found = make_run(tiny(seeds), planted({"batch_norm": 0.1, "group_norm": 0.9}))
    assert not re.search("highest|lower|difference", " ".join(said(found)))
    assert all("means from" in sentence and sentence.count("batch_norm") == 1 for sentence in said(found))
    assert re.search("too few to name a highest among 6 candidates .*; it takes 7", how(found))


def test_a_verdict_takes_as_many_seeds_as_its_family(make_run: Make, tiny: Tiny) -> None:
    """Two normalizers under three conditions are six candidates: 6 · 2⁻⁷ is below 0.05, 6 · 2⁻⁶ is not."""
    measure = planted({"batch_norm": 0.1, "group_norm": 0.9})
    told = [" ".join(said(make_run(tiny(seeds), measure, name=str(seeds)))) for seeds in (6, 7)]
    assert ["group_norm is highest" in text for text in told] == [False, True]


@pytest.mark.parametrize(("hypotheses", "pairs"), [(1, 5), (2, 6), (6, 7), (24, 9), (26, 10)])
def test_the_pairs_that_a_family_needs_are_the_fewest_with_a_p_below_a_twentieth(hypotheses: int, pairs: int) -> None:
    assert pairs_needed(hypotheses) == pairs
    assert hypotheses * 2.0**-pairs <= 0.05 < hypotheses * 2.0 ** -(pairs - 1)


def test_without_any_difference_at_most_one_run_in_twenty_names_a_winner() -> None:
    """Of 400 runs with three conditions, of two normalizers each, 20 are expected at most; 32 would be 2.7 sigma more.

    Two is the hardest number: each of them is the highest one half of the time.
    """
    draw = random.Random(7)
    wrong = 0
    for _ in range(400):
        every = [
            contest(str(n), [entrant(name, *(draw.gauss(0.9, 0.01) for _ in range(10))) for name in "ab"])
            for n in range(3)
        ]
        wrong += any(named(every))
    assert 0 < wrong <= 20


def test_without_any_difference_at_most_one_sentence_in_twenty_calls_anyone_lower() -> None:
    draw = random.Random(3)
    wrong = 0
    for _ in range(400):
        running = [entrant(name, *(draw.gauss(0.9, 0.01) for _ in range(10))) for name in "abcd"]
        wrong += bool(contest("", running).behind())
    assert wrong <= 20


def test_a_difference_of_two_standard_deviations_is_found_by_ten_seeds() -> None:
    draw = random.Random(5)
    right = 0
    for _ in range(100):
        low = [draw.gauss(0.9, 0.01) for _ in range(10)]
        high = [value + draw.gauss(0.02, 0.01) for value in low]
        right += judged([contest("", [entrant("a", *low), entrant("b", *high)])])[0].kind == "highest"
    assert right >= 95


def test_a_normalizer_is_not_compared_with_one_that_is_the_same_computation(make_run: Make, tiny: Tiny) -> None:
    suite = one_condition(tiny, 10, "batch_norm", "sync_batch_norm", "group_norm")
    first = {cell.settings.replicate: cell.id for cell in suite.cells() if cell.settings.normalizer == "batch_norm"}

    def change(cell: Cell) -> dict[str, Any]:
        twin = first[cell.settings.replicate] if cell.settings.normalizer == "sync_batch_norm" else None
        return {"twin_of": twin, "same_as": twin}

    measure = planted({"batch_norm": 0.95, "sync_batch_norm": 0.95, "group_norm": 0.90})
    (sentence,) = said(make_run(suite, measure, change))
    assert sentence.startswith("batch_norm and sync_batch_norm (one computation) is highest, 95.9 %: 5.0 points")


def test_two_that_agree_to_the_bit_are_a_tie_even_where_nobody_said_so(make_run: Make, tiny: Tiny) -> None:
    suite = one_condition(tiny, 10, *THREE)
    levels = {"batch_norm": 0.95, "group_norm": 0.95, "layer_norm": 0.90}
    (sentence,) = said(make_run(suite, planted(levels)))
    assert sentence.startswith("no difference found between batch_norm and group_norm (95.9 %), 0.0 points [0.0, 0.0];")


def test_a_pair_that_is_missing_leaves_the_highest_unnamed_and_is_told(make_run: Make, tiny: Tiny) -> None:
    measure = planted({"batch_norm": 0.95, "group_norm": 0.90, "layer_norm": 0.5})

    def some(cell: Cell) -> dict[str, Any] | None:
        return None if (cell.settings.normalizer, cell.settings.seed) == ("layer_norm", 3) else measure(cell)

    (sentence,) = said(make_run(one_condition(tiny, 10, *THREE), some))
    assert sentence == (
        "batch_norm has the highest mean, 95.9 %, which is not shown of all; lower than the highest mean: group_norm "
        "by 5.0 points [5.0, 5.0]; not compared, for pairs are missing: layer_norm."
    )


def test_who_has_no_value_at_all_is_named_and_stands_in_nobodys_way(make_run: Make, tiny: Tiny) -> None:
    measure = planted({"batch_norm": 0.95, "group_norm": 0.90})

    def some(cell: Cell) -> dict[str, Any]:
        out = cell.settings.normalizer == "layer_norm"
        return {"status": "oom", "reason": "memory", "metrics": {}} if out else measure(cell)

    (sentence,) = said(make_run(one_condition(tiny, 10, *THREE), some))
    assert sentence.startswith("batch_norm is highest")
    assert sentence.endswith("; without a value: layer_norm.")


def test_a_diverged_run_counts_as_chance_and_two_of_one_seed_say_nothing(make_run: Make, tiny: Tiny) -> None:
    measure = planted({"batch_norm": 0.95, "group_norm": 0.90})

    def some(cell: Cell, who: tuple[str, ...]) -> dict[str, Any]:
        fell = cell.settings.seed == 2 and cell.settings.normalizer in who
        told = {"status": "diverged", "reason": "x", "metrics": {"chance_accuracy": 0.1}}
        return told if fell else measure(cell)

    suite = one_condition(tiny, 10, "batch_norm", "group_norm")
    (one,) = said(make_run(suite, lambda cell: some(cell, ("group_norm",)), name="one"))
    # nine differences of 5 points and one of 0.954 - 0.1
    assert re.match(r"batch_norm is highest, 95.9 %: 13.0 points \[.*\] above group_norm; with diverged runs", one)
    (both,) = said(make_run(suite, lambda cell: some(cell, ("batch_norm", "group_norm")), name="both"))
    assert "not compared, for pairs are missing: group_norm" in both
    assert "highest" not in both


def test_differences_pair_by_seed() -> None:
    one, other = Entrant(("a",), {1: 0.5, 2: 0.75}), Entrant(("b",), {2: 0.5, 3: 0.5})
    assert differences(one, other) == [0.25]
    assert differences(one, Entrant(("c",), {4: 0.5})) is None


def test_who_stands_alone_is_no_candidate() -> None:
    alone, two = (
        contest("", [entrant(name, *[0.5 + 0.1 * number] * 6) for number, name in enumerate(names)])
        for names in ("a", "ab")
    )
    assert candidates([alone, two]) == 2
    assert named([alone, two]) == [False, True]  # 2 · 2⁻⁶ is below 0.05


def test_levels_that_nobody_tuned_are_said_to_compare_defaults(make_run: Make, tiny: Tiny, tuned_page: Path) -> None:
    words = "compare defaults at one common learning rate"
    assert words in how(make_run(tiny(10)))
    assert words not in how(tuned_page.parent)


def test_more_than_six_sentences_are_counted_and_linked(make_run: Make, tiny: Tiny) -> None:
    def measure(cell: Cell) -> dict[str, Any]:
        """Let every condition say something else: who is highest, and who collapses."""
        ranks = cell.settings.model_dump()["ranks"]
        lead = {1: 0.9, 2: 0.91, 4: 0.92, 5: 0.93, 8: 0.94, 10: 0.95, 20: 0.96, 40: 0.97}[ranks]
        return planted({"batch_norm": lead, "group_norm": 0.9})(cell)

    folder = make_run(change_suite(tiny(3), {"ranks": "1,2,4,5,8,10,20,40"}), measure)
    found = summary(folder).overview
    assert (len(found.sentences), len(found.more)) == (6, 2)
    page = report(folder).read_text(encoding="utf-8")
    assert '2 more: <a href="#found">' in page
    assert page.index('id="found"') < page.index(found.more[1].where, page.index('id="found"'))


def test_a_fastest_is_named_from_fresh_processes_only(make_run: Make) -> None:
    """Of two normalizers at two ends there are four candidates, which 7 processes decide and 6 do not."""
    changes = {"shape": "64x56x56", "batch_size": "8", "dtype": "float32", "layout": "contiguous"}
    changes |= {"direction": "forward", "mode": "eager", "cache": "hot"}
    layers = change_suite(load_suite(LAYERS), changes, normalizers=["batch_norm", "group_norm"])

    def measure(cell: Cell) -> dict[str, Any]:
        ratio = 1.0 if cell.settings.normalizer == "batch_norm" else 0.5 + 0.01 * cell.settings.replicate
        ends = {f"step_ms_ratio_{end}": ratio * by for end, by in (("p10", 0.9), ("p90", 1.1))}
        return {"metrics": {"step_ms_ratio": ratio} | ends, "samples": {"step_ms": [1.0] * 50}}

    told = [
        said(make_run(change_suite(layers, {}, repeats=number), measure, name=str(number)))[0] for number in (1, 6, 7)
    ]
    assert told[0] == (
        "a layer, hot, forward, float32: from 0.50× batch norm's time [0.45, 0.55] (group_norm) to 1.00× [0.90, 1.10] "
        "(batch_norm); 10th to 90th percentile, 1 process each."
    )
    assert ["fastest" in text for text in told] == [False, False, True]
    assert told[2].endswith("fastest is group_norm, 0.53× batch norm's time [0.51, 0.55].")


def test_means_over_different_layers_are_never_compared(make_run: Make) -> None:
    changes = {"shape": "64x56x56,256x14x14", "batch_size": "8", "dtype": "float32", "layout": "contiguous"}
    changes |= {"direction": "forward", "mode": "eager", "cache": "hot"}
    suite = change_suite(load_suite(LAYERS), changes, normalizers=list(THREE))

    def measure(cell: Cell) -> dict[str, Any] | None:
        settings = cell.settings.model_dump()
        if settings["normalizer"] == "layer_norm" and settings["shape"] == "64x56x56":
            return None
        return {"metrics": {"step_ms_ratio": {"batch_norm": 1.0, "group_norm": 2.0}.get(settings["normalizer"], 0.1)}}

    (sentence,) = said(make_run(suite, measure))
    assert "(group_norm)" in sentence
    assert sentence.endswith("1 process each; layer_norm was timed on 1 of these 2 layers.")


def test_a_time_without_the_exchange_between_ranks_and_the_control_are_never_fastest(quick_run: Path) -> None:
    (sentence,) = (one for one in said(quick_run) if one.startswith("a layer"))
    assert "none" not in sentence
    assert "sync_batch_norm" not in sentence


def test_the_first_figure_stands_on_the_first_screen_and_nowhere_else(quick_page: Path, quick: Suite) -> None:
    page = quick_page.read_text(encoding="utf-8")
    head, _, rest = page.partition("</header>")
    drawn = f'<svg [^>]*aria-label="{quick.figures[0].title}"'
    assert (len(re.findall("<svg", head)), len(re.findall(drawn, head)), len(re.findall(drawn, rest))) == (1, 1, 0)
    assert 'href="#figure-1">Numbers</a>' in head
    assert rest.index('<section id="figure-1"') < rest.index("<b>98") < rest.index('<section id="figure-2"')
    order = ['class="sentences"', "<svg", "Of 6 claims", 'class="verdicts"', "252 cells"]
    assert [head.index(part) for part in order] == sorted(head.index(part) for part in order)


def test_below_chance_nobody_collapses(make_run: Make, tiny: Tiny) -> None:
    measure = planted({"batch_norm": 0.05, "group_norm": 0.02}, chance=0.1)
    (sentence,) = said(make_run(one_condition(tiny, 10, "batch_norm", "group_norm"), measure))
    assert "batch_norm is highest" in sentence
    assert "collapse" not in sentence


def test_two_settings_that_take_the_same_value_make_two_conditions(make_run: Make, tiny: Tiny) -> None:
    """Drawn by classes, batch norm is at 0.9; dealt by classes, at 0.3."""
    changes = {"ranks": "5", "draw": "iid,classes(k=2)", "dealing": "shuffled,classes(k=2)"}
    suite = change_suite(tiny(6), changes, normalizers=["batch_norm"])

    def measure(cell: Cell) -> dict[str, Any]:
        level = {"iid": 0.3, "classes(k=2)": 0.9}[cell.settings.model_dump()["draw"]]
        return {"metrics": {"test_accuracy": level, "chance_accuracy": 0.1}}

    table = summary(make_run(suite, measure)).accuracy
    assert table is not None
    assert len(set(table.columns)) == 4
    assert [one.n for _, cells in table.rows for one in cells if not isinstance(one, str)] == [6] * 4


def test_a_diverged_run_whose_chance_nobody_knows_has_no_value(make_run: Make, tiny: Tiny) -> None:
    suite = one_condition(tiny, 6, "batch_norm", "group_norm")

    def measure(cell: Cell) -> dict[str, Any]:
        status = "diverged" if cell.settings.normalizer == "batch_norm" else "ok"
        return {"status": status, "metrics": {"test_accuracy": 0.7}}

    table = summary(make_run(suite, measure)).accuracy
    assert table is not None
    assert table.rows[0][1][0] == "no value (6)"
