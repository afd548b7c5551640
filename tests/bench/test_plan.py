"""Planning: what is said before anything is measured."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest
import torch
from PIL import Image

from normzoo_bench import checks, commands, data, skips
from normzoo_bench.errors import UsageError
from normzoo_bench.planner import resolve_device
from normzoo_bench.request import Request
from normzoo_suites import Cell, SuiteError


def plan(suite="quick", **asked):
    return commands.plan(suite, **asked)


def test_quick_has_six_normalizers_four_conditions_ten_seeds_and_its_speeds():
    made = plan()
    accuracy = [cell for cell in made.cells if cell.measure == "accuracy"]
    assert len(accuracy) == 6 * 4 * 10
    assert len(made.cells) - len(accuracy) == 6 * 2
    assert all(cell.skip is None for cell in made.cells)


def test_ranks_are_measured_at_first_and_last_only_where_they_cannot_matter():
    made = plan(seeds=1)
    same = {cell.settings.normalizer: cell for cell in made.cells if cell.same_as}
    assert set(same) == {"sync_batch_norm", "layer_norm", "group_norm", "none"}
    assert {cell.settings.ranks for cell in same.values()} == {5}
    by_id = {cell.id: cell for cell in made.cells}
    assert all(by_id[cell.same_as].settings.ranks == 1 for cell in same.values())


def test_a_split_is_never_mapped_since_there_the_normalizer_is_the_control():
    made = plan(seeds=1, settings={"split": "exclusive_classes", "ranks": "2,5,10"})
    assert not [cell for cell in made.cells if cell.same_as]


def test_cells_come_seed_by_seed_so_that_a_part_of_a_run_holds_whole_pairs():
    seeds = [cell.settings.seed for cell in plan(seeds=3).cells if cell.measure == "accuracy"]
    assert seeds == sorted(seeds)


def test_batch_norm_with_one_value_per_statistic_is_skipped_with_its_reason(tiny):
    made = plan(tiny, settings={"ranks": "40"}, seeds=1)
    skipped = {cell.settings.normalizer: cell.skip for cell in made.cells if cell.skip}
    assert set(skipped) == {"batch_norm"}
    assert "needs 2 values per channel" in skipped["batch_norm"]


def test_batch_norm_runs_with_one_sample_where_the_maps_are_larger(tiny):
    made = plan(tiny, settings={"ranks": "40", "model": "small_convnet"}, seeds=1)
    assert not [cell for cell in made.cells if cell.skip]


def test_sync_batch_norm_pools_over_ranks_and_is_not_skipped(tiny):
    made = plan(tiny, settings={"ranks": "40"}, seeds=1, normalizers=["sync_batch_norm"])
    assert not [cell for cell in made.cells if cell.skip]


def test_a_layer_is_skipped_where_it_or_the_batch_norm_it_is_timed_against_has_one_value_per_statistic(tiny):
    changes = {"shape": "8x1x1", "batch_size": "40,1", "ranks": "1", "momentum_counts": "steps"}
    made = plan(tiny, settings=changes, normalizers=["batch_norm", "group_norm"])
    skipped = {c.settings.normalizer: c for c in made.cells if c.skip and c.measure == "throughput"}
    assert {cell.settings.batch_size for cell in skipped.values()} == {1}
    assert "batch_norm needs a batch of 2" in skipped["batch_norm"].skip
    assert "it would be timed against batch_norm" in skipped["group_norm"].skip


def test_one_cell_is_found_by_the_beginning_of_its_id():
    wanted = next(cell for cell in plan(seeds=1).cells if cell.same_as is None)
    assert [cell.id for cell in plan(cell=wanted.id[:10]).cells] == [wanted.id]


def test_a_cell_that_is_the_same_as_another_brings_that_one_along():
    wanted = next(cell for cell in plan(seeds=1).cells if cell.same_as)
    assert [cell.id for cell in plan(cell=wanted.id).cells] == [wanted.same_as, wanted.id]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"suite": "quik"}, "unknown suite 'quik'; did you mean 'quick'"),
        ({"normalizers": ["bach_norm"]}, "unknown normalizer 'bach_norm'; did you mean 'batch_norm'"),
        ({"normalizers": ["group_norm(group=2)"]}, "no option 'group'; did you mean 'groups'"),
        ({"normalizers": ["batch_norm(eps=abc)"]}, r"cannot build and try batch_norm\(eps=abc\): "),
        ({"normalizers": ["batch_norm(momentum=2)"]}, "batch_norm: momentum is .* above 0 and at most 1, got 2"),
        ({"settings": {"augment": "crop_flip(padding=9)"}}, "crop_flip.*images of 8×8; the largest is 7"),
        ({"tune": {"learning_rates": "1,2"}}, "unknown setting 'learning_rates' .*did you mean 'learning_rate'"),
        ({"tune": "off"}, "the suite quick tunes nothing that --tune off could switch off"),
        ({"settings": {"model": "timm/resnet18.nope"}}, "timm/resnet18.nope cannot be built"),
        ({"settings": {"learning_rate": "1e300"}}, "learning_rate: must be a number"),
        ({"settings": {"dataset": "digit s"}}, "unknown data set 'digit s'"),
        ({"settings": {"model": "mpl"}}, "unknown model 'mpl'; did you mean 'mlp'"),
        ({"settings": {"model": "resnet18"}}, "unknown model 'resnet18'; .*; timm has one: timm/resnet18"),
        ({"settings": {"precision": "bf16"}, "suite": "throughput"}, "did you mean 'dtype'"),
        ({"settings": {"model": "timm/test_resnt"}}, "timm has no model 'test_resnt'; did you mean timm/test_resnet"),
        ({"settings": {"model": "timm/test_vit"}}, "the model timm/test_vit cannot|timm/test_vit cannot be built"),
        ({"settings": {"rank": "1"}}, "unknown setting 'rank' .*did you mean 'ranks'"),
        ({"settings": {"epochs": "few"}}, "epochs: .*'few'"),
        ({"settings": {"epochs": "0"}}, "epochs: .*greater than or equal to 1"),
        ({"settings": {"ranks": "3"}}, "3 does not divide 40"),
        ({"settings": {"batch_size": "4000", "ranks": "1"}}, "batch_size is 4000, larger than the 1437"),
        ({"settings": {"train_samples": "2000"}}, "train_samples is 2000, and digits has 1437"),
        ({"settings": {"split": "iidd"}}, "unknown split 'iidd'; did you mean 'iid'"),
        ({"seeds": 0}, "seeds must be"),
        ({"cell": "zzz"}, "no cell with an id that starts with 'zzz'"),
        ({"load": ["nowhere.py"]}, "there is no file 'nowhere.py'"),
    ],
)
def test_bad_input_is_named_with_what_would_work(asked, message):
    with pytest.raises(ValueError, match=message) as caught:
        plan(**asked)
    assert type(caught.value).__module__.startswith("normzoo")
    assert "\n" not in str(caught.value)


def test_cuda_where_there_is_none_is_said_at_once(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(UsageError, match="torch finds no CUDA device"):
        plan(device="cuda")


def test_naming_the_default_device_leaves_the_ids_alone():
    assert [cell.id for cell in plan(device="cpu").cells] == [cell.id for cell in plan().cells]


def test_an_options_value_that_a_normalizer_refuses_is_a_skip_where_the_model_does_not_fit(tiny):
    made = plan(tiny, normalizers=["group_norm(groups=5)"], seeds=1)
    assert all("groups must divide" in (cell.skip or "") for cell in made.cells)


def test_groups_that_do_not_divide_a_width_are_a_skip_that_names_the_divisors(tiny):
    made = plan(tiny, normalizers=["group_norm(groups=7)"], seeds=1, settings={"ranks": "1"})
    (reason,) = {cell.skip for cell in made.cells if cell.measure == "accuracy"}
    assert "groups must divide the 96 channels, got 7; these do: 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 96" in reason


def test_groups_of_one_value_are_a_skip_of_the_plan_and_not_only_of_the_run(tiny):
    """The MLP has 96 channels and no space: with 96 groups each statistic is over one value."""
    made = plan(tiny, normalizers=["group_norm(groups=96)"], seeds=1, settings={"ranks": "1"})
    (reason,) = {cell.skip for cell in made.cells if cell.measure == "accuracy"}
    assert "a statistic over 1 channel(s) and space needs 2 values per sample" in reason


def test_all_errors_of_planning_are_usage_errors_of_one_family():
    assert issubclass(UsageError, SuiteError)


@pytest.mark.parametrize(
    ("model", "shape", "reason"),
    [
        ("timm/levit_128s", (3, 224, 224), "others than samples on its first axis"),  # [N·T, C]: row i is not sample i
        ("timm/test_vit", (3, 64, 64), None),
        ("timm/test_resnet", (3, 64, 64), None),
    ],
)
def test_a_model_whose_norms_see_no_samples_is_skipped_where_samples_are_dealt(model, shape, reason):
    found = skips._model_reason("batch_norm", model, shape, 10, one_sample=False, dealt=True)
    assert (reason in found) if reason else found is None
    assert skips._model_reason("group_norm", model, shape, 10, one_sample=False, dealt=False) is None


TAUTOLOGY = """
[[claims]]
id = "ranks_do_not_matter"
says = "Group norm does not notice the ranks."
source = "by design"
metric = "test_accuracy"
plus = [{ normalizer = "group_norm", ranks = 1 }]
minus = [{ normalizer = "group_norm", ranks = 20 }]
is = "equal"
margin = 0.01
"""


def test_a_claim_whose_sides_are_one_computation_by_design_is_refused_though_both_are_measured(tiny, tmp_path):
    file = tmp_path / "tautology.toml"
    file.write_text(Path(tiny).read_text(encoding="utf-8") + TAUTOLOGY, encoding="utf-8")
    with pytest.raises(UsageError, match="'ranks_do_not_matter': both sides are the same computation by design"):
        plan(str(file))


def test_a_claim_that_names_a_folder_finds_its_cells(tmp_path, tiny):
    folder = tmp_path / "pets"
    folder.mkdir()
    pictures = [Image.new("L", (8, 8), color) for color in range(100)]
    part = datasets.Dataset.from_dict(
        {"image": pictures, "label": [n % 2 for n in range(100)]},
        features=datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=2)}),
    )
    part.to_parquet(folder / "train.parquet")
    file = tmp_path / "named.toml"
    text = (
        Path(tiny).read_text(encoding="utf-8").replace('"digits"', f'"{folder}"').replace(", train_samples = 200", "")
    )
    named = TAUTOLOGY.replace("group_norm", "batch_norm").replace("ranks = 1 }", f'ranks = 1, dataset = "{folder}" }}')
    file.write_text(text + named, encoding="utf-8")
    made = plan(str(file))
    (name,) = {cell.settings.dataset for cell in made.cells if cell.measure == "accuracy"}
    assert name.startswith("pets@")
    assert made.suite.claims[0].plus[0]["dataset"] == name
    assert str(tmp_path) not in str(made.suite)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"dataset": "/home/alice/a,digits,/home/alice/b(size=64)"}, "dataset=PATH_TO/a,digits,PATH_TO/b(size=64)"),
        ({"dataset": "../data/cifar10"}, "dataset=../data/cifar10"),
        ({"normalizer": "group_norm(groups=2),none"}, "normalizer=group_norm(groups=2),none"),
    ],
)
def test_a_recorded_command_shows_no_absolute_path(given, shown):
    assert shown in Request("quick", settings=given).command().replace("'", "")


def few_labels(labels):
    labels = torch.tensor(labels)
    return data.DataSet(data.Images(torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8), labels), None, 3, "")


SHARED = {"dataset": "pets", "batch_size": 3}


def test_a_class_that_a_seed_does_not_train_on_is_told(monkeypatch, settings):
    """Of 3 classes, one with 2 images, a seed that trains on few samples may have 2 only."""
    monkeypatch.setattr(data, "load", lambda name, where: few_labels([0] * 49 + [1] * 49 + [2] * 2))
    sources = {"pets": data.Source("pets", "pets", {})}
    checks.check_data([Cell("accuracy", 1, settings(**SHARED))], sources)
    with pytest.raises(UsageError, match=r"seed 0, train_samples 10\) holds 2 of the 3 classes of pets.*more train_s"):
        checks.check_data([Cell("accuracy", 1, settings(**SHARED, train_samples=10))], sources)


def test_ranks_that_own_classes_are_at_most_the_classes_that_there_are(monkeypatch, settings):
    """A class that occurs nowhere is nobody's to own: here labels are 0 and 2."""
    monkeypatch.setattr(data, "load", lambda name, where: few_labels([0] * 49 + [2] * 49))
    cell = Cell("accuracy", 1, settings(**SHARED, ranks=3, split="exclusive_classes"))
    with pytest.raises(UsageError, match=r"3 ranks cannot own the 2 classes .* exclusively; use at most 2 ranks"):
        checks.check_data([cell], {"pets": data.Source("pets", "pets", {})})


def test_a_data_set_that_no_seed_can_split_is_refused_by_its_name(monkeypatch, settings):
    monkeypatch.setattr(data, "load", lambda name, where: few_labels([0] * 50 + [1] * 49 + [2]))
    with pytest.raises(UsageError, match=r"^pets has no labelled test part, and only one image of class 2"):
        checks.check_data([Cell("accuracy", 1, settings(dataset="pets"))], {"pets": data.Source("pets", "pets", {})})


def test_a_training_part_is_drawn_once_for_all_cells_that_share_it(monkeypatch):
    drawn = []
    present = data.DataSet.present_classes
    monkeypatch.setattr(data.DataSet, "present_classes", lambda *asked: drawn.append(asked[1:]) or present(*asked))
    plan(seeds=3)
    assert sorted(drawn) == [(seed, "all", "test") for seed in range(3)]
