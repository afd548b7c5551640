"""What was measured and how, in words that follow from the run's settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from normzoo_reports import words
from normzoo_reports.findings.environments import environments
from normzoo_reports.load import tuned, waiting
from normzoo_reports.plain import isolated
from normzoo_suites import Run
from normzoo_suites.settings import AccuracySettings


def measured(run: Run) -> str:
    """Say in one line what was measured, and on what: "mlp on digits, 6 epochs, batches of 40, 10 seeds; …"."""
    cells = (*run.cells, *waiting(run))
    settings = [cell.settings.model_dump() for cell in cells if cell.measure == "accuracy"]
    told = {key: dict.fromkeys(_shown(one[key]) for one in settings) for key in _TOLD} if settings else {}
    parts = [
        template.format(" or ".join(told[key]))
        for key, template in _TOLD.items()
        if told and key not in tuned(run) and set(told[key]) != {_UNSAID.get(key)}
    ]
    if settings:
        parts += [f"tuned {key.replace('_', ' ')}" for key in tuned(run)]
        parts.append(words.count(len({one["seed"] for one in settings}), "seed"))
    homes = environments(run)
    facts = dict(homes[0].facts) if homes else {}
    machine = [isolated(facts[key]) for key in ("gpu", "cpu") if facts.get(key)]
    machine += [f"torch {isolated(facts['torch'])}"] if facts.get("torch") else []
    return "; ".join(filter(None, (", ".join(parts).replace(", on ", " on ", 1), ", ".join(machine))))


def _shown(value: Any) -> str:
    return isolated(words.show_value(value))


_TOLD = {
    "model": "{}",
    "dataset": "on {}",
    "train_samples": "{} training images",
    "epochs": "{} epochs",
    "batch_size": "batches of {}",
    "ranks": "{} ranks",
    "learning_rate": "learning rate {}",
    "precision": "{}",
}
"""The settings that a reader must know before any number, and how they read."""


_UNSAID = {key: words.show_value(AccuracySettings.model_fields[key].default) for key in ("train_samples", "precision")}
"""What goes without saying: all training images, and float32."""


def ranks(run: Run) -> list[str]:
    """Say how the run's data-parallel ranks were had; nothing where all cells have one rank."""
    settings = [cell.settings.model_dump() for cell in (*run.cells, *waiting(run)) if cell.measure == "accuracy"]
    return [said for said, holds in _RANKS.items() if any(one["ranks"] > 1 and holds(one) for one in settings)]


_RANKS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "Data-parallel ranks are virtual: one process cuts each batch into the parts that would share a statistic, and all "
    "else sees the whole batch.": lambda one: one["ranks_backend"] == "virtual" and not one["local_epochs"],
    "Where ranks_backend is process, each data-parallel rank is a process of its own; gradients are averaged over them "
    "in every step.": lambda one: bool(one["ranks_backend"] == "process"),
    "Where local_epochs is above 0, ranks train by themselves for so many epochs, then their weights are averaged; "
    "with local buffers each rank's model reads its own share of the test part.": lambda one: bool(one["local_epochs"]),
}
