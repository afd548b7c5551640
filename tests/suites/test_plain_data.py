"""What JSON can hold is kept as it is and all else is spelt, by rules that do not depend on what stands beside."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import few

from normzoo_suites.record import as_data


class Text(str):
    __slots__ = ()


leaves = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.text().map(Text), st.binary(max_size=2)),
    st.sampled_from([10**299, 10**400, -(10**400), "\ud800", (1, "\ud800")]),
)
keys = st.text(max_size=3) | st.integers() | st.sampled_from(["\ud800", "ä"])
tables = st.dictionaries(keys, st.recursive(leaves, lambda d: st.lists(d) | st.dictionaries(keys, d), max_leaves=8))


@few(100)
@given(data=tables)
def test_whether_a_table_is_plain_as_a_whole_makes_no_difference(data: dict[Any, Any]) -> None:
    """What is not plain stands beside it once, so that everything is looked at."""
    found = as_data(data)
    assert repr(found) == repr({key: value for key, value in as_data(data | {b"odd": b""}).items() if key != "b'odd'"})
    json.dumps(found, allow_nan=False).encode()


@pytest.mark.parametrize("depth", [19, 20, 21, 22, 30])
@pytest.mark.parametrize("beside", [0, b""])
def test_what_is_deep_is_cut_at_one_depth(depth: int, beside: object) -> None:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    spelt = str(as_data({"deep": value, "beside": beside})["deep"])
    assert spelt.count("[") == depth
    assert ("'" in spelt) == (depth > 20)


def test_a_list_that_holds_itself_has_an_end() -> None:
    own: list[Any] = []
    own.append(own)
    json.dumps(as_data({"own": own}))
