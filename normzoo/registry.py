"""The registry: normalizers by name, and the card on which each author states the claims it is held to."""

from __future__ import annotations

import ast
import difflib
import functools
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from torch import nn

POOLS = frozenset({"rank", "batch", "group", "channel", "space"})
"""The axes whose values may share one statistic; ``group`` is a part of the channels, ``channel`` all of them."""

Normalizer = TypeVar("Normalizer", bound=type[nn.Module])
_cards: dict[str, Card] = {}
_ZOO = Path(__file__).parent


class UnknownNormalizerError(LookupError):
    """No normalizer of that name is registered."""


class NormalizerOptionError(ValueError):
    """A normalizer does not know an option, or refuses its value."""


@dataclass(frozen=True)
class Card:
    """What a normalizer's author claims of it; the contract kit holds it to this.

    Attributes:
        name: its name in the registry, snake_case, as in its paper.
        factory: the class; ``num_features`` first, options by keyword.
        paper: an arXiv id, a DOI, or ``none``; free text.
        year: the year of its publication, or None.
        pools: the axes whose values share one statistic, a part of ``POOLS``.
        running_stats: whether it keeps moving statistics for eval.
        eval_only_stats: whether training never reads them (batch norm: yes; batch renorm: no).
        exempt: checks of the contract that it fails, each with the reason.

    """

    name: str
    factory: type[nn.Module]
    paper: str
    year: int | None
    pools: frozenset[str]
    running_stats: bool = False
    eval_only_stats: bool = False
    exempt: Mapping[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The first line of the class's docstring."""
        return (inspect.getdoc(self.factory) or "").partition("\n")[0]

    @property
    def batch_dependent(self) -> bool:
        """Whether a sample's training output depends on its batch-mates."""
        return bool(self.pools & {"batch", "rank"})

    @property
    def needs_process_group(self) -> bool:
        """Whether data-parallel ranks must talk in every forward pass."""
        return "rank" in self.pools

    @property
    def built_in(self) -> bool:
        """Whether it came with this package."""
        return self.factory.__module__.startswith("normzoo.norms.")

    @property
    def options(self) -> dict[str, Any]:
        """The options of its constructor with their defaults."""
        parameters = list(inspect.signature(self.factory).parameters.values())[1:]
        return {p.name: p.default for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}

    @functools.cached_property
    def source_hash(self) -> str:
        """Twelve hex digits over its source: the file that defines it, and what of the zoo that builds on."""
        digest = hashlib.sha256()
        files = _files_behind(self.factory.__module__)
        for _, text in sorted((file.name, file.read_bytes()) for file in files):  # wherever these files lie
            digest.update(text)
        return (digest if files else hashlib.sha256(self.factory.__qualname__.encode())).hexdigest()[:12]

    def smallest_batch(self, space: Iterable[int] = ()) -> int:
        """Give the fewest samples that it trains on at these space sizes."""
        values = 1
        for size in space:
            values *= size
        return 2 if "batch" in self.pools and "channel" not in self.pools and values < 2 else 1


def register(
    name: str,
    *,
    paper: str,
    year: int | None,
    pools: Iterable[str],
    running_stats: bool = False,
    eval_only_stats: bool = False,
    exempt: Mapping[str, str] | None = None,
) -> Callable[[Normalizer], Normalizer]:
    """Register a normalizer class under a name, with the claims of its card (see ``Card``).

    Raises:
        ValueError: for a name that is taken by another class or is not snake_case, or an unknown pool.

    """
    unknown = set(pools) - POOLS
    if unknown:
        raise ValueError(f"{name}: unknown pools {sorted(unknown)}; known: {', '.join(sorted(POOLS))}")
    if not name.isidentifier() or name != name.lower():
        raise ValueError(f"a normalizer's name is snake_case, got {name!r}")

    def add(factory: Normalizer) -> Normalizer:
        if not (isinstance(factory, type) and issubclass(factory, nn.Module)):
            raise ValueError(f"{name}: a normalizer is a class derived from torch.nn.Module, got {factory!r}")
        taken = _cards.get(name)
        if taken is not None and not _same_class(taken.factory, factory):
            raise ValueError(
                f"the name {name!r} is taken by {taken.factory.__module__}.{taken.factory.__qualname__}; choose another"
            )
        made = Card(name, factory, paper, year, frozenset(pools), running_stats, eval_only_stats, dict(exempt or {}))
        made.source_hash  # noqa: B018  # read now: the file may change while what it said is in use
        _cards[name] = made
        return factory

    return add


def names() -> list[str]:
    """Name every registered normalizer, in the order of registration."""
    return list(_cards)


def card(name: str) -> Card:
    """Give the card of a normalizer.

    Raises:
        UnknownNormalizerError: with the nearest known name.

    """
    if name not in _cards:
        near = difflib.get_close_matches(name, _cards, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        shown = name if len(name) < 60 else f"{name[:60]}…"
        raise UnknownNormalizerError(f"unknown normalizer {shown!r}; {hint}known: {', '.join(_cards)}")
    return _cards[name]


def create(name: str, num_features: int, **options: Any) -> nn.Module:
    """Build a normalizer for ``num_features`` channels.

    Raises:
        UnknownNormalizerError: for an unknown name.
        NormalizerOptionError: for an option that it does not have, or a value that it refuses.

    """
    check_options(name, options)
    return build(name, num_features, options)


def build(name: str, num_features: int, options: Mapping[str, Any]) -> nn.Module:
    """Build a normalizer with options that are its own: those asked for, or those that a model's layer had.

    Raises:
        NormalizerOptionError: for a value that it refuses.

    """
    try:
        return card(name).factory(num_features, **options)
    except (TypeError, ValueError) as error:
        raise NormalizerOptionError(f"{name}: {error}") from error


def check_options(name: str, options: Iterable[str]) -> None:
    """Require that a normalizer has these options; of a mapping, also that ``momentum`` is one.

    Raises:
        NormalizerOptionError: with the nearest known option, or the momentum that is allowed.

    """
    known = card(name).options
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise NormalizerOptionError(f"{name} has no option {option!r}; {hint}known: {', '.join(known) or 'none'}")
    if isinstance(options, Mapping) and card(name).built_in:
        _check_momentum(name, options.get("momentum"))


def _check_momentum(name: str, momentum: object) -> None:
    """Require a weight of the new batch: a number above 0 and at most 1; None is torch's cumulative average.

    Held against what is asked for and not in the layers: one of a user's model may have frozen its statistics with
    momentum 0, and is converted as it is.
    """
    if momentum is None:
        return
    if isinstance(momentum, bool) or not isinstance(momentum, int | float) or not 0 < momentum <= 1:
        raise NormalizerOptionError(
            f"{name}: momentum is the weight of the new batch in the running statistics, a number above 0 and at most "
            f"1, got {momentum!r}"
        )


def _same_class(one: type, other: type) -> bool:
    """Tell whether a file that was loaded again defines the same class once more."""

    def origin(cls: type) -> tuple[str, str | None]:
        return cls.__qualname__, getattr(sys.modules.get(cls.__module__), "__file__", None)

    return one is other or origin(one) == origin(other)


def _files_behind(module: str) -> set[Path]:
    """Give the files of a module and of what it takes something from, kernels that are imported late among them."""
    files = {Path(file) for name in _modules_behind(module) if (file := getattr(sys.modules[name], "__file__", None))}
    waiting = [file for file in files if file.parent.parent == _ZOO]
    while waiting:
        late = _imported_from_the_zoo(waiting.pop()) - files
        files |= late
        waiting += late
    return files


def _modules_behind(name: str, seen: frozenset[str] = frozenset()) -> frozenset[str]:
    """Name a module, and those it takes something from: of the zoo, or lying beside it in its folder."""
    seen |= {name}
    home = _folder(name)
    for value in list(vars(sys.modules[name]).values()):
        origin = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if isinstance(origin, str) and origin in sys.modules and origin not in seen:
            beside = home is not None and _folder(origin) == home
            if origin.startswith(("normzoo.norms.", "normzoo.kernels.")) or beside:
                seen = _modules_behind(origin, seen)
    return seen


def _folder(module: str) -> Path | None:
    file = getattr(sys.modules[module], "__file__", None)
    return Path(file).parent if file else None


def _imported_from_the_zoo(file: Path) -> set[Path]:
    """Give the zoo's norms and kernels that a file of them imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("normzoo."):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            found |= {_ZOO.joinpath(*name.split(".")[1:]).with_suffix(".py") for name in names}
    return {path for path in found if path.parent.name in ("norms", "kernels") and path.exists()}
