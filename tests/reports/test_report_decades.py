"""Axes in decades: their ticks are plain numbers, since no text of a report is read as mathematics."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from normzoo_reports.drawing.panels import _decades


@pytest.mark.parametrize(
    ("values", "some"),
    [([1.4, 9.5], {"2", "5", "10"}), ([0.06, 10.0], {"0.1", "1", "10"}), ([1e-3, 9.0], {"0.01", "1"})],
)
def test_ticks_of_a_decade_axis_are_plain_numbers(values, some):
    figure, ax = plt.subplots()
    ax.plot([0, 1], values)
    _decades(ax, pd.Series(values))
    figure.canvas.draw()
    told = {label.get_text() for label in ax.get_yticklabels()}
    plt.close(figure)
    assert some <= told
    assert not any("$" in one for one in told)
    assert not any(label.get_text() for label in ax.get_yticklabels(minor=True))
