"""Under which conditions times were taken, in words: what cells share, what each has to itself, what to beware of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from normzoo_reports import words
from normzoo_reports.load import MEASURED
from normzoo_reports.plain import isolated
from normzoo_suites import Cell, Run

_STATES = ("before", "after", "throttled")
_TOLD = {
    "output_dtype": "output in {}",
    "output_layout": "output {}",
    "batch_norm_backend": "torch's batch norm by {}",
    "float32_matmul_precision": "float32_matmul_precision {}",
    "cudnn_benchmark": "cudnn.benchmark {}",
    "cudnn_tf32": "TF32 in cuDNN {}",
    "matmul_tf32": "TF32 in matmuls {}",
    "timm_fast_norm": "timm's fast norms {}",
    "norm_dtypes": "norms take and give {}",
    "folded": "norms folded: {}",
    "held_against_float64": "held against float64 {}",
    "tried": "batches tried: {}",
    "weights_and_buffers_mib": "weights and buffers {} MiB",
    "optimizer_mib": "optimizer {} MiB",
    "images_mib": "images {} MiB",
    "timed_s": "timed for {} s",
}
_MACHINE = {
    "load": "load {}",
    "sm_mhz": "SM clock {} MHz",
    "memory_mhz": "memory clock {} MHz",
    "watts": "{} W",
    "celsius": "{} °C",
}
"""What is read of the machine before and after, and how it reads."""

_WIDER = {("bfloat16", "float32"): "twice", ("float32", "float64"): "twice", ("bfloat16", "float64"): "four times"}


@dataclass(frozen=True)
class Beware:
    """A warning in words, and the cells that it is about as (id, name) pairs."""

    text: str
    cells: tuple[tuple[str, str], ...] = ()


class Conditions:
    """The conditions of one measure's cells, by id; cells that are the same computation as another have none."""

    def __init__(self, run: Run, measure: str) -> None:
        """Read them from the run's records."""
        self.held: dict[str, dict[str, Any]] = {}
        self.cells: dict[str, Cell] = {}
        for cell in run.cells:
            record = run.records.get(cell.id)
            if cell.measure == measure and cell.same_as is None and record and record.status in MEASURED:
                self.held[cell.id], self.cells[cell.id] = record.conditions, cell
        self.shared = _shared(list(self.held.values()))

    @property
    def everywhere(self) -> str:
        """What held for all cells, and within which bounds the machine was: "…; load 0.4 to 2.1"; or nothing."""
        same = ", ".join(_told(key, value) for key, value in self.shared.items())
        states = [held[when] for held in self.held.values() for when in ("before", "after") if held.get(when)]
        return "; ".join(filter(None, (same, ", ".join(_bounds(states)))))

    def own(self, cell: str) -> str:
        """What held for one cell alone, the machine before and after it, and whether it was slowed down."""
        held = self.held.get(cell, {})
        told = [_told(key, value) for key, value in held.items() if key not in (*_STATES, *self.shared)]
        told += _bounds([held.get("before", {}), held.get("after", {})], " → ")
        return ", ".join([*told, *([f"throttled ({_why([held])})"] if held.get("throttled") else [])])

    def warnings(self, names: Mapping[str, str]) -> tuple[Beware, ...]:
        """What a reader must beware of; ``names`` gives a cell's name by its id."""
        return (*self._throttled(names), *(Beware(text) for text in (*self._wider(), *self._relaid())))

    def _throttled(self, names: Mapping[str, str]) -> Iterable[Beware]:
        slowed = [cell for cell, held in self.held.items() if held.get("throttled")]
        if slowed:
            verb = "was" if len(slowed) == 1 else "were"
            why = _why([self.held[cell] for cell in slowed])
            text = f"{len(slowed):,} of {words.count(len(self.held), 'cell')} {verb} throttled meanwhile ({why})"
            yield Beware(text, tuple((cell, names.get(cell, cell)) for cell in slowed))

    def _wider(self) -> Iterable[str]:
        """Say whose output is of another dtype than its input."""
        for (given, got), who in _changed(self._dtypes()).items():
            wider = _WIDER.get((given, got))
            more = f": it has {wider} the bytes to write, and to read for what follows" if wider else ""
            yield f"For {given} input {who} {got}{more}."

    def _relaid(self) -> Iterable[str]:
        """Say whose output lies in memory in another way than its input."""
        for (given, got), who in _changed(self._layouts()).items():
            yield f"For {given} input {who} {got} output: what follows runs in that layout, or copies."

    def _dtypes(self) -> Iterable[tuple[str, str, str]]:
        for cell, held in self.held.items():
            settings = self.cells[cell].settings
            if "output_dtype" in held and hasattr(settings, "dtype"):
                yield settings.normalizer, settings.dtype, str(held["output_dtype"])
            for pair in held.get("norm_dtypes") or ():
                given, _, got = str(pair).partition(" to ")
                yield settings.normalizer, given, got

    def _layouts(self) -> Iterable[tuple[str, str, str]]:
        for cell, held in self.held.items():
            settings = self.cells[cell].settings
            if "output_layout" in held and hasattr(settings, "shape") and _lies_one_way(settings.shape):
                yield settings.normalizer, str(getattr(settings, "layout", "")), str(held["output_layout"])


def _lies_one_way(shape: str) -> bool:
    """Tell whether the layouts of a shape C, CxHxW, … differ; of one channel or one position they do not."""
    channels, *space = (int(size) for size in shape.split("x"))
    return channels > 1 and math.prod(space) > 1


def _changed(seen: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str], str]:
    """Give, for every change from input to output, whose it is: "layer_norm and none (not everywhere) give"."""
    every = list(dict.fromkeys(seen))
    found: dict[tuple[str, str], list[str]] = {}
    for name, given, got in every:
        if given != got:
            alone = sum((name, given) == (other, asked) for other, asked, _ in every) == 1
            who = isolated(name)
            found.setdefault((given, got), []).append(who if alone else f"{who} (not everywhere)")
    return {pair: f"{words.listed(who)} {'gives' if len(who) == 1 else 'give'}" for pair, who in found.items()}


def _shared(every: list[dict[str, Any]]) -> dict[str, Any]:
    """Give what all cells hold alike."""
    first = every[0] if every else {}
    return {
        key: value
        for key, value in first.items()
        if key not in _STATES and all(key in held and held[key] == value for held in every)
    }


def _told(key: str, value: Any) -> str:
    return _TOLD.get(key, key.replace("_", " ") + " {}").format(_text(value))


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "on", False: "off"}[value]
    if isinstance(value, Mapping):
        return ", ".join(f"{key}{_entry(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return words.digits(value) if isinstance(value, int | float) else str(value)


def _entry(inner: Any) -> str:
    """Show what stands under a name: a count, or of a batch that was tried whether it fits."""
    if isinstance(inner, Mapping):
        return "" if inner.get("fits", True) else " (too large)"
    return f" ({_text(inner)})"


def _bounds(states: list[Mapping[str, Any]], between: str = " to ") -> list[str]:
    """Give what the machine told: the lowest and the highest of many states, or one before and one after."""
    found = []
    for key, form in _MACHINE.items():
        values = [float(state[key]) for state in states if isinstance(state.get(key), int | float)]
        if between == " to ":
            values.sort()
        shown = list(dict.fromkeys([words.digits(values[0]), words.digits(values[-1])])) if values else []
        found += [form.format(between.join(shown))] if shown else []
    return found


def _why(slowed: list[dict[str, Any]]) -> str:
    """Say what slowed a machine down: a GPU's reasons, a CPU's host or quota."""
    states = [held.get(when) or {} for held in slowed for when in ("before", "after")]
    reasons = list(dict.fromkeys(str(reason) for state in states for reason in state.get("slowed_by") or ()))
    stolen, stops = (sum(_rise(held, key) for held in slowed) for key in ("stolen_s", "quota_stops"))
    reasons += [f"the host took {words.digits(round(stolen, 2))} s"] if stolen > 0 else []
    reasons += [f"stopped {words.count(round(stops), 'time')} by a quota"] if stops > 0 else []
    return ", ".join(reasons) or "for reasons that it did not tell"


def _rise(held: dict[str, Any], key: str) -> float:
    before, after = (held.get(when) or {} for when in ("before", "after"))
    return float(after.get(key, 0)) - float(before.get(key, 0))
