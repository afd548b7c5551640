from __future__ import annotations

import gc

import pytest

from normzoo_suites import collecting


@pytest.fixture(autouse=True)
def as_it_was():
    was = gc.isenabled()
    yield
    (gc.enable if was else gc.disable)()


@pytest.mark.parametrize("before", [True, False])
def test_the_search_for_cycles_is_afterwards_as_it_was_before_an_error(before):
    (gc.enable if before else gc.disable)()

    @collecting.pause()
    def fail():
        assert not gc.isenabled()
        raise KeyError

    for _ in range(2):  # the pause of a function can be used again
        with pytest.raises(KeyError):
            fail()
        assert gc.isenabled() is before


def test_a_pause_within_a_pause_does_not_end_it():
    with collecting.pause():
        with collecting.pause():
            pass
        assert not gc.isenabled()
