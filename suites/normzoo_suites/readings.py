"""Which setting makes which reading: what claims and figures can ask of a cell, and what a report expects of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from normzoo_suites.settings.demonstration import SHOWN


class _Need(NamedTuple):
    """What a reading needs: as a suite writes it, and whether settings have it."""

    text: str
    had: Callable[[Mapping[str, Any]], bool]


_TEST = _Need('evaluate_on = "test"', lambda told: told["evaluate_on"] == "test")
_VALIDATION = _Need('evaluate_on = "validation"', lambda told: told["evaluate_on"] == "validation")
_ALL = _Need('readings = "all"', lambda told: told["readings"] == "all")
_LEAK = _Need('probe = "leak"', lambda told: told["probe"] == "leak")
_ALL_OR_LEAK = _Need('readings = "all" or probe = "leak"', lambda told: _ALL.had(told) or _LEAK.had(told))
_RANKS = _Need("ranks above 1", lambda told: told["ranks"] > 1)
_RANK0 = _Need('buffers = "rank0", with which they are another reading', lambda told: told["buffers"] == "rank0")
_FROZEN = _Need("frozen_from below 1, such as frozen_from = 0.8", lambda told: told["frozen_from"] < 1)
_EMA = _Need("ema above 0, such as ema = 0.99", lambda told: told["ema"] > 0)
_STREAM = _Need('a stream, such as stream = "iid"', lambda told: told["stream"] != "none")


def _shows(what: str) -> _Need:
    return _Need(f'shows = "{what}"', lambda told: bool(told["shows"] == what))


_NEEDS: dict[str, tuple[_Need, ...]] = {
    "test_accuracy": (_TEST,),
    "test_loss": (_TEST,),
    "test_accuracy_population": (_TEST, _ALL),
    "test_accuracy_batch": (_TEST, _ALL_OR_LEAK),
    "test_accuracy_mean_buffers": (_TEST, _RANKS, _RANK0),
    "test_accuracy_frozen": (_TEST, _FROZEN),
    "test_accuracy_ema": (_TEST, _EMA),
    "train_eval_gap": (_TEST, _ALL_OR_LEAK),
    "stream_accuracy": (_TEST, _STREAM),
    "stream_accuracy_batch": (_TEST, _STREAM),
    "stream_accuracy_adabn": (_TEST, _STREAM),
    "stream_accuracy_momentum": (_TEST, _STREAM),
    "test_accuracy_grouped": (_TEST, _LEAK),
    "label_leak": (_TEST, _LEAK),
    "gradient_footprint": (_TEST, _LEAK),
    "validation_accuracy": (_VALIDATION,),
    "validation_loss": (_VALIDATION,),
    **{metric: (_shows(what),) for what, metrics in SHOWN.items() for metric in metrics},
}


def missing(metric: str, settings: Mapping[str, Any]) -> str:
    """Say what these settings lack for a metric of theirs, as a suite writes it; empty where they ask for it.

    Whether the normalizer has such statistics is another matter: group norm keeps none.

    >>> missing("test_accuracy_ema", {"evaluate_on": "test", "ema": 0.0})
    'ema above 0, such as ema = 0.99'
    """
    return "; and ".join(need.text for need in _NEEDS.get(metric, ()) if not need.had(settings))
