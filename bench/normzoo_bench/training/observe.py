"""Who is told of a training's epochs while it is on its way; nobody, unless somebody asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Observer(Protocol):
    """Is told of every epoch when it has ended and its numbers are written down.

    It must not raise, draw at random or touch the device: a training is the same to the bit with and without.
    """

    def __call__(self, seed: int, epoch: int, values: Mapping[str, float]) -> None:
        """Hear what the training under this seed came to in an epoch, counted from 1, by name."""


_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


def observer() -> Observer | None:
    """Give who is to be told of the trainings that begin here."""
    return _observer.get()


@contextmanager
def observed(by: Observer | None) -> Iterator[None]:
    """Have somebody told of the trainings that begin meanwhile; None is nobody."""
    before = _observer.set(by)
    try:
        yield
    finally:
        _observer.reset(before)


def tell(by: Observer | None, seed: int, series: Mapping[str, list[float]], epochs: Iterable[int]) -> None:
    """Tell of these epochs, counted from 0, whose numbers stand in the series."""
    if by is None:
        return
    for epoch in epochs:
        by(seed, epoch + 1, {name: values[epoch] for name, values in series.items()})
