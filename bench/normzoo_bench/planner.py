"""From a suite to cells: each runnable, skipped with a reason, or the same computation as another."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

import normzoo
from normzoo import CannotConvertError, NormalizerOptionError, TooFewValuesError, UnknownNormalizerError, plugins
from normzoo_bench import data, models, splits
from normzoo_bench.data import DataSet, Source
from normzoo_bench.errors import UsageError
from normzoo_bench.request import Request
from normzoo_suites import Cell, Suite, change_suite, load_suite, parse_call
from normzoo_suites.settings import AccuracySettings, ThroughputSettings


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        suite: the suite as the command line changed it.
        cells: its cells, in the order of measuring.
        sources: by a data set's name in settings, where it is loaded from here.
        request: what was asked for, as it was asked.

    """

    suite: Suite
    cells: list[Cell]
    sources: dict[str, Source]
    request: Request

    def dataset(self, cell: Cell) -> DataSet | None:
        """Give a cell's data set, or None where it needs none."""
        if not isinstance(cell.settings, AccuracySettings):
            return None
        return data.load(cell.settings.dataset, self.sources[cell.settings.dataset].where)

    def to_do(self) -> list[Cell]:
        """Give the cells that are measured: neither skipped nor the same as another."""
        return [cell for cell in self.cells if cell.skip is None and cell.same_as is None]


def plan(request: Request) -> Plan:
    """Plan a suite: everything that can be known to be wrong is said here, before anything is measured.

    Raises:
        UsageError, SuiteError: for whatever of the request cannot be done.

    """
    loaded = [name for path in request.load for name in plugins.load(path)]
    changes = dict(request.settings)
    if request.device is not None:
        changes["device"] = resolve_device(request.device)
    suite = change_suite(
        load_suite(request.suite),
        changes,
        request.normalizers,
        request.seeds,
        add_normalizers=loaded if request.normalizers is None and "normalizer" not in changes else (),
    )
    cells = suite.cells()
    _check_devices(cells)
    _check_normalizers(cells)
    cells, sources = _named_data(cells)
    _check_data(cells, sources)
    checked = [dataclasses.replace(cell, skip=_skip_reason(cell, sources)) for cell in cells]
    unique = list({cell.id: cell for cell in mark_same(checked)}.values())
    return Plan(suite, _chosen(unique, request.cell), sources, request)


def resolve_device(name: str) -> str:
    """Give ``cuda`` or ``cpu`` for ``auto``, else the name itself."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def mark_same(cells: Sequence[Cell]) -> list[Cell]:
    """Mark cells that are one computation at several ``ranks``, which then is measured at the first and last only.

    That is so for a normalizer that pools over no batch, or over ranks too, with iid data dealt as it comes. The two
    that are measured show that it is so.
    """

    def question(cell: Cell) -> str:
        return str(cell.settings.model_dump(exclude={"ranks"}))

    marked = {cell.id: cell for cell in cells}
    free = [cell for cell in cells if cell.skip is None and _ranks_cannot_matter(cell)]
    for _, group in itertools.groupby(sorted(free, key=question), key=question):
        ordered = sorted(group, key=lambda cell: cell.settings.ranks)  # type: ignore[attr-defined]  # accuracy cells only
        for between in ordered[1:-1]:
            marked[between.id] = dataclasses.replace(between, same_as=ordered[0].id)
    return list(marked.values())


def _ranks_cannot_matter(cell: Cell) -> bool:
    settings = cell.settings
    if not isinstance(settings, AccuracySettings) or (settings.split, settings.dealing) != ("iid", "shuffled"):
        return False
    pools = normzoo.card(parse_call(settings.normalizer).name).pools
    return "batch" not in pools or "rank" in pools


def _chosen(cells: list[Cell], wanted: str | None) -> list[Cell]:
    if wanted is None:
        return cells
    found = [cell for cell in cells if cell.id.startswith(wanted)]
    if len(found) != 1:
        what = "no cell" if not found else f"{len(found)} cells"
        raise UsageError(f"{what} with an id that starts with {wanted!r}; `normzoo plan --cells` lists the ids")
    if found[0].same_as:
        return [cell for cell in cells if cell.id == found[0].same_as] + found
    return found


def _check_devices(cells: Iterable[Cell]) -> None:
    if any(cell.settings.device == "cuda" for cell in cells) and not torch.cuda.is_available():
        raise UsageError("device cuda was asked for, and torch finds no CUDA device here; use --device cpu")


def _check_normalizers(cells: Iterable[Cell]) -> None:
    for spelling in dict.fromkeys(cell.settings.normalizer for cell in cells):
        call = parse_call(spelling)
        try:
            normzoo.check_options(call.name, call.options)
        except (UnknownNormalizerError, NormalizerOptionError) as error:
            raise UsageError(str(error)) from None


def _named_data(cells: list[Cell]) -> tuple[list[Cell], dict[str, Source]]:
    """Give the cells with their data sets' names as every machine spells them, and where these are loaded from."""
    sources: dict[str, Source] = {}

    @functools.cache
    def named(text: str) -> str:
        source = data.find(text)
        sources[source.name] = source
        return source.name

    def renamed(cell: Cell) -> Cell:
        if not isinstance(cell.settings, AccuracySettings):
            return cell
        changed = cell.settings.model_copy(update={"dataset": named(cell.settings.dataset)})
        return dataclasses.replace(cell, settings=changed)

    return [renamed(cell) for cell in cells], sources


def _check_data(cells: Iterable[Cell], sources: dict[str, Source]) -> None:
    for cell in cells:
        if not isinstance(cell.settings, AccuracySettings):
            continue
        settings = cell.settings
        dataset = data.load(settings.dataset, sources[settings.dataset].where)
        have = dataset.train_size()
        wanted = have if settings.train_samples == "all" else int(settings.train_samples)
        if wanted > have:
            raise UsageError(f"train_samples is {wanted}, and {settings.dataset} has {have} training samples")
        if settings.batch_size > wanted:
            raise UsageError(
                f"batch_size is {settings.batch_size}, larger than the {wanted} training samples there are"
            )
        splits.check(settings, dataset.classes)


def _skip_reason(cell: Cell, sources: dict[str, Source]) -> str | None:
    settings = cell.settings
    if isinstance(settings, ThroughputSettings):
        sizes = settings.sizes()
        return _layer_reason(settings.normalizer, sizes[1]) or _values_reason(settings.normalizer, sizes)
    if isinstance(settings, AccuracySettings):
        dataset = data.load(settings.dataset, sources[settings.dataset].where)
        # two samples give every statistic two values; only one sample needs a look at the model's smallest map
        card = normzoo.card(parse_call(settings.normalizer).name)
        local = settings.batch_size if "rank" in card.pools else settings.batch_size // settings.ranks
        return _model_reason(settings.normalizer, settings.model, dataset.shape, dataset.classes, min(local, 2))
    return None


@functools.cache
def _layer_reason(normalizer: str, channels: int) -> str | None:
    call = parse_call(normalizer)
    return _reason(lambda: normzoo.create(call.name, channels, **call.options))


def _values_reason(normalizer: str, sizes: tuple[int, ...]) -> str | None:
    needed = normzoo.card(parse_call(normalizer).name).smallest_batch(sizes[2:])
    if sizes[0] >= needed:
        return None
    return f"{normalizer} needs a batch of {needed} at {math.prod(sizes[2:])} position(s) per sample, got {sizes[0]}"


@functools.cache
def _model_reason(normalizer: str, model: str, shape: models.Shape, classes: int, local: int) -> str | None:
    """Convert the model, and where one sample makes up a statistic, try a training step of it."""
    call = parse_call(normalizer)
    converted = copy.deepcopy(_checked_model(model, shape, classes))

    def attempt() -> None:
        changed = normzoo.convert(converted, call.name, **call.options)
        if local == 1:
            changed.train()(torch.zeros(1, *shape))

    return _reason(attempt)


def _reason(attempt: Callable[[], object]) -> str | None:
    try:
        attempt()
    except (CannotConvertError, NormalizerOptionError, TooFewValuesError) as error:
        return str(error)
    return None


@functools.cache
def _checked_model(name: str, shape: models.Shape, classes: int) -> nn.Module:
    """Build a model and try it on two blank images.

    Raises:
        UsageError: when it cannot take images of this shape.

    """
    model = models.build(name, shape, classes)
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(2, *shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        size = "×".join(map(str, shape))
        reason = str(error).partition("\n")[0]
        raise UsageError(f"the model {name} cannot take {size} images: {reason}") from None
    return model
