"""Names with options, as suites and command lines write them."""

from __future__ import annotations

import random
import string

import pytest

from normzoo_suites import Call, SuiteError, parse_call
from normzoo_suites.calls import split_commas


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("none", "none", {}),
        (" none() ", "none", {}),
        ("group_norm(groups=8)", "group_norm", {"groups": 8}),
        ("a(b=-1e-3, c=.5, d=+2)", "a", {"b": -0.001, "c": 0.5, "d": 2}),
        ("a(b=true, c=False, d=None, e=word)", "a", {"b": True, "c": False, "d": None, "e": "word"}),
        ("a(b='x, (y', c=\"it's\", d='8', e='')", "a", {"b": "x, (y", "c": "it's", "d": "8", "e": ""}),
        ("data/bob's photos(label=fine label)", "data/bob's photos", {"label": "fine label"}),
    ],
)
def test_a_call_is_read_as_its_name_and_typed_options(text: str, name: str, options: dict[str, object]) -> None:
    call = parse_call(text)
    assert (call.name, dict(call.options)) == (name, options)
    assert {key: type(value) for key, value in call.options.items()} == {k: type(v) for k, v in options.items()}


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "(",
        "a(",
        "a)",
        "=",
        "a=b",
        "a,b",
        "a(b)",
        "a(b=)",
        "a(=1)",
        "a(1)",
        "a(b=1, b=2)",
        "a(b=c(d))",
        "a(b=1))",
        "a(b='x)",
        "a(b=1e999)",
        "a(b=c=d)",
        "a\nb",
        "a(b='\n')",
        "a(b-c=1)",
        f"a(b={'9' * 400})",
    ],
)
def test_what_is_no_call_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(SuiteError) as caught:
        parse_call(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a(b=1, c=2)", "a( c = 2 ,b=1 )"),
        ("a(b=0.1)", "a(b=1e-1)"),
        ("a(b=8)", "a(b=8.0)"),
        ("a(b=true)", "a(b=True)"),
        ("a(b=word)", "a(b='word')"),
        ("a(b=0)", "a(b=-0.0)"),
        ("a", "a()"),
    ],
)
def test_two_spellings_of_one_call_have_one_canonical_text(one: str, other: str) -> None:
    assert str(parse_call(one)) == str(parse_call(other))


@pytest.mark.parametrize(
    ("one", "other"), [("a(b=8)", "a(b='8')"), ("a(b=true)", "a(b='true')"), ("a(b=1)", "a(b=true)")]
)
def test_a_quoted_text_is_not_what_it_looks_like(one: str, other: str) -> None:
    assert str(parse_call(one)) != str(parse_call(other))


def test_the_canonical_text_reads_back_as_the_same_call() -> None:
    draw = random.Random(0)
    letters = string.ascii_letters + string.digits + " ,()=.-+'/"
    for _ in range(2000):
        word = "".join(draw.choices(letters, k=draw.randint(0, 6)))
        value = draw.choice([word, draw.randint(-99, 99), draw.uniform(-9, 9), draw.random() * 1e-9, True, False, None])
        call = Call("name", {"option": value, "other": 1})
        assert parse_call(str(call)) == call


def test_commas_in_parentheses_do_not_cut() -> None:
    assert split_commas("a(b=1,c=2), d ,,e(f='x,)',g=2)") == ["a(b=1,c=2)", "d", "e(f='x,)',g=2)"]
