"""A normalizer with options, held to its card as it is then built: ``group_norm`` with ``groups=8``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

from torch import nn

from normzoo.contract._probe import CHANNELS
from normzoo.registry import Card, NormalizerOptionError, check_options
from normzoo.registry import card as card_of


def with_options(name: str, options: Mapping[str, Any], called: str) -> Card:
    """Give a registered normalizer's card, changed so that the checks build it with these options.

    Args:
        name: as it is registered.
        options: by keyword.
        called: what the findings call it, such as ``group_norm(groups=8)``.

    Raises:
        UnknownNormalizerError: for an unknown name.
        NormalizerOptionError: for an option that it does not have, or a value that it refuses, also because the checks
            build ``CHANNELS`` channels.

    """
    check_options(name, options)
    card = card_of(name)
    if not options:
        return card
    built = _Built(card.factory, dict(options), name)
    try:
        built(CHANNELS)
    except (TypeError, ValueError) as error:
        raise NormalizerOptionError(f"{called}: {error}; the contract's checks build {CHANNELS} channels") from error
    # the checks call the class and ask where it is from, nothing else of it
    return dataclasses.replace(card, name=called, factory=cast("type[nn.Module]", built))


def asked(card: Card) -> tuple[str, Mapping[str, Any]]:
    """Give the registered name and the options of a card that may be from ``with_options``."""
    factory: object = card.factory
    return (factory.name, factory.options) if isinstance(factory, _Built) else (card.name, {})


class _Built:
    """A normalizer's class with options set; it is pickled as the class is, by its name."""

    def __init__(self, factory: type[nn.Module], options: dict[str, Any], name: str) -> None:
        self.factory, self.options, self.name = factory, options, name
        self.__module__, self.__qualname__, self.__doc__ = factory.__module__, factory.__qualname__, factory.__doc__

    def __call__(self, num_features: int, **more: Any) -> nn.Module:
        return self.factory(num_features, **self.options, **more)
