"""The registry: names, cards, and what a mistake gets."""

from __future__ import annotations

import pytest
from torch import nn

import normzoo
from normzoo import plugins, registry
from normzoo.registry import POOLS

CLAIMS = {"paper": "none", "year": 2025, "pools": {"space"}}


class Layer(nn.Module):
    """A layer for the registry.

    More of it.
    """

    def __init__(self, num_features: int, *, eps: float = 1e-5, groups: int | None = None) -> None:
        super().__init__()


class OtherLayer(nn.Module):
    def __init__(self, num_features: int) -> None:
        super().__init__()


def test_the_built_in_normalizers_are_listed_in_the_order_of_every_table() -> None:
    built_in = [name for name in normzoo.names() if normzoo.card(name).built_in]
    five = ["batch_norm", "sync_batch_norm", "layer_norm", "group_norm", "batch_renorm"]
    assert built_in == [*five, "sync_batch_renorm", "layer_norm_channels", "none"]


def test_an_unknown_name_gets_the_nearest_known_one() -> None:
    with pytest.raises(
        normzoo.UnknownNormalizerError, match="unknown normalizer 'batchnorm'; did you mean 'batch_norm'"
    ):
        normzoo.create("batchnorm", 8)


def test_a_name_like_no_other_gets_the_list() -> None:
    with pytest.raises(LookupError, match="unknown normalizer 'xyz'; known: batch_norm, "):
        normzoo.card("xyz")


def test_an_unknown_option_gets_the_nearest_known_one() -> None:
    with pytest.raises(normzoo.NormalizerOptionError, match="group_norm has no option 'group'; did you mean 'groups'"):
        normzoo.create("group_norm", 8, group=2)


def test_an_option_of_a_normalizer_without_any_is_refused() -> None:
    with pytest.raises(normzoo.NormalizerOptionError, match="none has no option 'eps'; known: none"):
        normzoo.create("none", 8, eps=1.0)


def test_a_refused_value_names_the_normalizer() -> None:
    with pytest.raises(normzoo.NormalizerOptionError, match="group_norm: groups must divide the 8 channels, got 3"):
        normzoo.create("group_norm", 8, groups=3)


def test_a_registered_class_is_found_by_its_name_with_its_claims() -> None:
    assert normzoo.register("layer", **CLAIMS, exempt={"check_x": "why"})(Layer) is Layer
    card = normzoo.card("layer")
    assert (card.factory, card.pools, card.exempt) == (Layer, {"space"}, {"check_x": "why"})
    assert (card.summary, card.options) == ("A layer for the registry.", {"eps": 1e-5, "groups": None})
    assert (card.built_in, card.batch_dependent, card.needs_process_group) == (False, False, False)
    assert isinstance(normzoo.create("layer", 8, eps=1.0), Layer)


def test_a_name_taken_by_another_class_is_refused() -> None:
    normzoo.register("layer", **CLAIMS)(Layer)
    with pytest.raises(ValueError, match=r"'layer' is taken by .*Layer; choose another"):
        normzoo.register("layer", **CLAIMS)(OtherLayer)
    assert normzoo.card("layer").factory is Layer


def test_the_same_class_may_register_again() -> None:
    normzoo.register("layer", **CLAIMS)(Layer)
    normzoo.register("layer", **CLAIMS | {"year": 2026})(Layer)
    assert normzoo.card("layer").year == 2026


def test_unknown_pools_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"layer: unknown pools \['time'\]; known: batch, channel, group, rank, space"):
        normzoo.register("layer", **CLAIMS | {"pools": {"space", "time"}})


@pytest.mark.parametrize("name", ["My_norm", "my norm", "my-norm", "2norm", ""])
def test_a_name_that_is_not_snake_case_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="snake_case"):
        normzoo.register(name, **CLAIMS)


@pytest.mark.parametrize("name", ["batch_norm", "sync_batch_norm", "layer_norm", "group_norm", "batch_renorm", "none"])
def test_derived_claims_follow_from_the_pools(name: str) -> None:
    card = normzoo.card(name)
    assert card.pools <= POOLS
    assert card.batch_dependent == (name in ("batch_norm", "sync_batch_norm", "batch_renorm"))
    assert card.needs_process_group == (name == "sync_batch_norm")


def test_the_source_hash_tells_files_apart() -> None:
    hashes = {normzoo.card(name).source_hash for name in ("batch_norm", "layer_norm", "group_norm", "none")}
    assert len(hashes) == 4
    assert all(len(text) == 12 for text in hashes)


def test_only_batch_norms_keep_statistics_that_training_never_reads() -> None:
    """The contract refutes a claim too many, not one too few."""
    cards = [card for card in map(normzoo.card, normzoo.names()) if card.built_in]
    moving = {"batch_norm", "sync_batch_norm", "batch_renorm", "sync_batch_renorm"}
    assert {card.name for card in cards if card.running_stats} == moving
    assert {card.name for card in cards if card.eval_only_stats} == {"batch_norm", "sync_batch_norm"}


def test_the_source_hash_covers_the_kernels_too_and_those_that_are_imported_late() -> None:
    files = {
        name: {file.name for file in registry._files_behind(f"normzoo.norms.{name}")} for name in ("group_norm", "none")
    }
    assert {"group_norm.py", "groups.py", "cpu_groups.py", "triton_groups.py", "triton_group_forward.py"} <= files[
        "group_norm"
    ]
    assert "groups.py" not in files["none"]


def test_the_source_hash_covers_what_lies_beside_a_normalizers_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    plugin = tmp_path / "leaning.py"
    plugin.write_text(
        "import normzoo\nfrom leaned_on import scale\n"
        "@normzoo.register('leaning', paper='none', year=None, pools=set())\n"
        "class Leaning(normzoo.norms.NoNorm):\n    def forward(self, x):\n        return scale(super().forward(x))\n",
        encoding="utf-8",
    )

    def hash_with(helper):
        (tmp_path / "leaned_on.py").write_text(helper, encoding="utf-8")
        plugins.load(plugin)
        card = registry.card("leaning")
        return registry.Card(**{field: getattr(card, field) for field in card.__dataclass_fields__}).source_hash

    one = hash_with("def scale(x):\n    return x\n")
    assert one == hash_with("def scale(x):\n    return x\n")
    assert one != hash_with("def scale(x):\n    return 2 * x\n")


@pytest.mark.parametrize("name", ["batch_norm", "sync_batch_norm", "batch_renorm", "sync_batch_renorm"])
@pytest.mark.parametrize("momentum", [0, -0.1, 1.5, True, "fast", float("nan")])
def test_a_momentum_that_weighs_nothing_or_more_than_the_whole_is_refused(name: str, momentum: object) -> None:
    allowed = f"{name}: momentum is the weight of the new batch .* above 0 and at most 1, got {momentum!r}"
    with pytest.raises(normzoo.NormalizerOptionError, match=allowed):
        normzoo.create(name, 8, momentum=momentum)
    with pytest.raises(normzoo.NormalizerOptionError, match=allowed):
        normzoo.convert(nn.BatchNorm2d(8), name, momentum=momentum)


@pytest.mark.parametrize("momentum", [1, 0.5, 1e-9])
def test_a_momentum_that_is_a_weight_is_taken(momentum: float) -> None:
    assert normzoo.create("batch_norm", 8, momentum=momentum).momentum == momentum


def test_a_models_own_momentum_is_taken_over_as_it_is() -> None:
    """With 0 its owner has frozen the running statistics."""
    assert normzoo.convert(nn.BatchNorm2d(8, momentum=0.0), "batch_norm").momentum == 0.0
