"""The field's data sets: short names for hub ids, with the options that they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from normzoo_suites import Call
from normzoo_suites.calls import Option


@dataclass(frozen=True)
class Known:
    """A hub's data set with a short name: its id there, the options that it needs, and a line about it."""

    where: str
    options: Mapping[str, Option]
    about: str


# cells and caches hold the short name alone, so whoever changes an entry must give it another name
KNOWN = {
    "cifar10": Known(
        "uoft-cs/cifar10",
        {"image": "img", "label": "label"},
        "50,000 + 10,000 colour photographs, 32×32, 10 classes (Krizhevsky 2009)",
    ),
    "cifar100": Known(
        "uoft-cs/cifar100",
        {"image": "img", "label": "fine_label"},
        "50,000 + 10,000 colour photographs, 32×32, 100 classes, or 20: label=coarse_label (Krizhevsky 2009)",
    ),
    "fashion_mnist": Known(
        "zalando-datasets/fashion_mnist",
        {"image": "image", "label": "label"},
        "60,000 + 10,000 gray pictures of clothes, 28×28, 10 classes (arXiv:1708.07747)",
    ),
    "imagenette": Known(
        "frgfm/imagenette",
        {"image": "image", "label": "label", "config": "160px", "size": 160, "test": "validation"},
        "9,469 + 3,925 photographs, 160×160, 10 easy classes of ImageNet; larger ones: config=320px (fast.ai)",
    ),
    "imagenet-1k": Known(
        "ILSVRC/imagenet-1k",
        {"image": "image", "label": "label", "size": 224, "test": "validation"},
        "1,281,167 + 50,000 photographs, 224×224, 1,000 classes (arXiv:1409.0575); the hub asks to accept its terms",
    ),
}


def known_names() -> dict[str, str]:
    """Give the short names, each with a line about it."""
    return {name: f"{known.about}; hub id {known.where}" for name, known in KNOWN.items()}


def known_options(call: Call) -> dict[str, Option]:
    """Give the options that a data set is decoded with: those given, and the others that its short name has."""
    own = KNOWN[call.name].options if call.name in KNOWN else {}
    return {**own, **call.options}
