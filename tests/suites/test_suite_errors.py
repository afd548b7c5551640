"""What a mistake in a suite's file gets: one line with the file, the line, what it got and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from normzoo_suites import SuiteError, load_suite, parse_suite, suite_names
from normzoo_suites.places import line_of
from normzoo_suites.settings import MEASURES

Spoiled = Callable[[str, str], str]


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("protocol = 1", "protocol = = 1", 3, "not valid TOML"),
        ('is = "higher"', 'is = "higher', 28, "not valid TOML"),
        ("[[figures]]", '[[figures]]\ntitle = """', 42, "not valid TOML: Unterminated string"),
        ("protocol = 1", "protocol = 1\nprotocol = 2", 4, "not valid TOML: Cannot overwrite a value"),
    ],
)
def test_toml_that_does_not_parse_is_told_with_file_and_line(
    spoiled: Spoiled, old: str, new: str, line: int, said: str
) -> None:
    assert spoiled(old, new).startswith(f"small.toml, line {line}: {said}")


@pytest.mark.parametrize("text", [f"protocol = {'9' * 5000}", f"x = {'[' * 5000}"])
def test_toml_that_tomllib_chokes_on_is_told_without_a_traceback(text: str) -> None:
    with pytest.raises(SuiteError, match=r"small.toml.*: not valid TOML"):
        parse_suite(text, "small.toml")


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "nearest"),
    [
        ("protocol", "protocl", 3, "protocl", "protocol"),
        ("[grids.axes]", "[grids.axis]", 8, "axis", "axes"),
        ("epochs = 1", "epoch = 1", 7, "epoch", "epochs"),
        ("ranks = [1, 20]", "rank = [1, 20]", 10, "rank", "ranks"),
        ("margin", "margn", 29, "margn", "margin"),
        ('{ normalizer = "batch_norm", ranks = 1 }', '{ normalizer = "batch_norm", rank = 1 }', 24, "rank", "ranks"),
        ("ranks = 20 }", "rnks = 20 }", 25, "rnks", "ranks"),
        ("kind", "knd", 32, "knd", "kind"),
        ("where = { ranks", "where = { rank", 35, "rank", "ranks"),
    ],
    ids=["suite", "grid", "fixed", "axes", "claim", "plus", "minus", "figure", "where"],
)
def test_an_unknown_key_is_told_with_its_line_and_the_nearest_known(
    spoiled: Spoiled, old: str, new: str, line: int, key: str, nearest: str
) -> None:
    message = spoiled(old, new)
    assert message.startswith(f"small.toml, line {line}: ")
    assert f"{key!r}" in message
    assert f"did you mean {nearest!r}?" in message


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("protocol = 1", 'protocol = "1"', 3, "protocol: must be a valid integer, got '1'"),
        ("protocol = 1", "protocol = 0", 3, "protocol: must be greater than or equal to 1, got 0"),
        ('"small"', '"Small one"', 1, "name: must be snake_case, such as batch_size, got 'Small one'"),
        ('question = "What?"', 'question = ""', 2, "question: string should have at least 1 character, got ''"),
        ("epochs = 1", "epochs = true", 7, "grids[0].fixed.epochs: must be a text or a number, got true"),
        ("epochs = 1", "epochs = [1]", 7, "grids[0].fixed.epochs: must be a text or a number, got a list of 1"),
        ("epochs = 1", "epochs = 1.0", 7, "epochs: must be a valid integer, got 1.0"),
        ("epochs = 1", 'epochs = "1"', 7, "epochs: must be a valid integer, got '1'"),
        ("epochs = 1", "epochs = 0", 7, "epochs: must be greater than or equal to 1, got 0"),
        ("epochs = 1", "epochs = 1, weight_decay = nan", 7, "must be a finite number, got nan"),
        ("epochs = 1", "epochs = 1, learning_rate = 0", 7, "learning_rate: must be a number above 0, or linear("),
        ("epochs = 1", 'epochs = 1, learning_rate = "linear(rate=1)"', 7, "learning_rate: must be a number above 0"),
        ("epochs = 1", 'epochs = 1, train_samples = "few"', 7, "train_samples: must be a whole number from 1, or"),
        ("epochs = 1", 'epochs = 1, split = "shards(k)"', 7, "cannot read the option 'k' in 'shards(k)'"),
        ("ranks = [1, 20]", "ranks = [1, 21]", 10, "ranks must divide batch_size, and 21 does not divide 40"),
        ("ranks = [1, 20]", "ranks = []", 10, "the axis 'ranks' has no values"),
        ("ranks = [1, 20]", "ranks = 5", 10, "the axis 'ranks' needs a list of values"),
        ("ranks = [1, 20]", 'ranks = "5"', 10, "grids[0].axes.ranks: must be a list of values"),
        ("ranks = [1, 20]", "epochs = [1, 20]", 10, "'epochs' is both fixed and an axis; keep one"),
        ("seed = 3", "seed = 0", 11, "the axis 'seed' needs a list of values"),
        ("seed = 3", "seed = [4294967296]", 11, "seed: must be less than or equal to 4294967295"),
        ("64x8x8", "64x", 15, "shape: must be channels and 0 to 3 space axes, such as 64x56x56, got '64x'"),
        ('"64x8x8"', '"64", layout = "channels_last"', 15, "layout channels_last needs space axes, and shape 64 has"),
        ('is = "higher"', 'is = "higer"', 28, "claims[0].is: must be 'higher' or 'equal', got 'higer'"),
        ("margin = 0.01", "margin = -1", 29, "claims[0].margin: must be greater than or equal to 0, got -1"),
        ("margin = 0.01", "margin = inf", 29, "claims[0].margin: must be a finite number, got inf"),
        ("ranks = 20 }", 'ranks = "20" }', 25, "ranks: must be a valid integer, got '20'"),
        ('kind = "line"', 'kind = "lines"', 32, "figures[0].kind: must be 'line', 'bar' or 'point', got 'lines'"),
        ("[1, 20] }", "1 }", 35, "figures[0].where.ranks: must be a valid list, got 1"),
    ],
)
def test_a_value_of_the_wrong_type_or_out_of_range_is_told_with_its_line(
    spoiled: Spoiled, old: str, new: str, line: int, said: str
) -> None:
    message = spoiled(old, new)
    assert message.startswith(f"small.toml, line {line}: ")
    assert said in message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "small"\n', "", "small.toml: name is missing"),
        ('measure = "accuracy"\n', "", "small.toml, line 5: grids[0].measure is missing"),
        (
            "epochs = 1, ",
            "",
            "small.toml, line 5: epochs is missing; every cell of accuracy needs it, in fixed or axes",
        ),
        ('is = "higher"\n', "", "small.toml, line 19: claims[0].is is missing"),
    ],
)
def test_a_missing_key_is_told_with_the_line_of_its_table(spoiled: Spoiled, old: str, new: str, said: str) -> None:
    assert spoiled(old, new) == said


def test_an_unknown_measure_names_the_nearest(spoiled: Spoiled) -> None:
    assert spoiled('"accuracy"', '"acuracy"') == (
        "small.toml, line 6: unknown measure 'acuracy'; did you mean 'accuracy'? known: " + ", ".join(sorted(MEASURES))
    )


def test_a_suite_with_too_many_cells_is_refused_before_they_fill_the_memory(spoiled: Spoiled) -> None:
    assert "4000000000002 cells are too many, the most is 100000" in spoiled("seed = 3", "seed = 1_000_000_000_000")


def test_a_large_batch_that_ranks_do_not_divide_is_told_at_once(spoiled: Spoiled) -> None:
    message = spoiled("batch_size = 40", "batch_size = 2147483647")
    assert message.endswith("the nearest that do: 1, 2147483647")


def test_a_long_value_is_cut_in_the_message(spoiled: Spoiled) -> None:
    assert len(spoiled('"higher"', f'"{"x" * 9000}"')) < 200


@pytest.mark.parametrize(
    ("value", "said"), [("2", "unknown setting 'a\\nb'"), ("true", "grids[0].fixed.'a\\nb': must be")]
)
def test_a_key_with_a_line_break_leaves_the_message_on_one_line(spoiled: Spoiled, value: str, said: str) -> None:
    assert said in spoiled("epochs = 1", f'epochs = 1, "a\\nb" = {value}')


def test_a_grid_that_is_a_table_and_not_a_list_of_tables_is_refused() -> None:
    with pytest.raises(SuiteError, match="line 4: grids: must be a valid list, got a table"):
        parse_suite('name = "a"\nquestion = "b"\nprotocol = 1\n[grids]\nmeasure = "accuracy"', "small.toml")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "quik",
            f"unknown suite 'quik'; did you mean 'quick'? known: {', '.join(suite_names())}, or the path",
        ),
        ("", "unknown suite ''"),
        (".", "unknown suite '.'"),
        ("a\0b", "unknown suite 'a\\x00b'"),
        ("x" * 5000, "unknown suite 'xxx"),
        ("mine.toml", "cannot read the suite mine.toml: No such file or directory"),
    ],
)
def test_an_unknown_suite_is_told_with_the_nearest_known(name: str, said: str) -> None:
    with pytest.raises(SuiteError) as caught:
        load_suite(name)
    assert str(caught.value).startswith(said)


def test_a_suite_that_is_not_utf_8_is_told_with_the_byte(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(SuiteError, match=r"mine.toml: byte 9 is not UTF-8"):
        load_suite(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ((), None),
        (("nowhere",), None),
        (("protocol",), 3),
        (("grids", 0), 5),
        (("grids", 1), 13),
        (("grids", 1, "axes", "normalizer"), 17),
        (("grids", 1, "fixed", "shape"), 15),
        (("claims", 0, "minus", 0, "ranks"), 25),
        (("claims", 0, "not_there"), 19),
        (("figures", 1, "measure"), 39),
    ],
)
def test_the_line_of_a_place_is_where_its_statement_begins(
    small_text: str, place: tuple[str | int, ...], line: int | None
) -> None:
    assert line_of(small_text, place) == line
    if line:
        assert small_text.splitlines()[line - 1].strip()


def test_a_line_is_right_where_the_same_key_stands_in_a_text_and_a_comment() -> None:
    text = 'question = """\nprotocol = 5\n"""\n# protocol = 6\nprotocol = 7\n'
    assert line_of(text, ("protocol",)) == 5
