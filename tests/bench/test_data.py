"""Loading: the embedded digits, folders as users have them, and what bad ones are told."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from pets import CLASSES, loaded, one_part, parquet_folder, part_of, pictures, table
from PIL import Image
from sklearn.datasets import load_digits

from normzoo_bench import data
from normzoo_bench.errors import UsageError
from normzoo_bench.known import known_names

pytestmark = pytest.mark.usefixtures("own_caches")


def test_digits_are_scikit_learns_images_with_ten_classes(digits):
    bunch = load_digits()
    assert digits.shape == (1, 8, 8)
    assert digits.classes == 10
    assert torch.equal(digits.train.labels, torch.from_numpy(bunch.target))
    assert np.abs(digits.train.images[:, 0].numpy() / 255 * 16 - bunch.images).max() < 0.07


def test_the_digits_keep_the_fingerprint_that_records_have(digits):
    assert digits.fingerprint == "01cd0c272a76"


def test_the_seed_draws_the_digits_split(digits):
    first, again, other = (digits.parts(seed, "all") for seed in (0, 0, 1))
    assert torch.equal(first[0].images, again[0].images)
    assert not torch.equal(first[0].labels, other[0].labels)
    assert len(first[0].labels) == digits.train_size()
    assert len(first[0].labels) + len(first[1].labels) == 1797


def test_no_digit_is_in_training_and_test_part_of_one_seed(digits):
    train, test = digits.parts(3, "all")
    rows = {tuple(image.flatten().tolist()) for image in train.images}
    originals = {tuple(image.flatten().tolist()) for image in digits.train.images}
    assert len(originals) == 1797  # no two digits are alike, so a leak would show
    assert not rows & {tuple(image.flatten().tolist()) for image in test.images}


def test_train_samples_are_a_part_of_the_seeds_training_part(digits):
    few, _ = digits.parts(0, 100)
    every, _ = digits.parts(0, "all")
    rows = {tuple(image.flatten().tolist()) for image in every.images}
    assert len(few.labels) == 100
    assert all(tuple(image.flatten().tolist()) in rows for image in few.images)


def test_a_parquet_folder_is_decoded_to_its_pixels_and_labels(tmp_path):
    train, test = table(12), table(6)
    found = loaded(str(parquet_folder(tmp_path, train=train, test=test)))
    assert found.classes == 3
    assert found.train.labels.tolist() == train["label"][:]
    assert torch.equal(found.train.images[0], torch.from_numpy(np.array(train[0]["img"])).permute(2, 0, 1))
    assert found.test is not None
    assert len(found.test.labels) == 6


def test_a_folder_is_decoded_once(tmp_path, monkeypatch):
    folder = parquet_folder(tmp_path, train=table())
    loaded(str(folder))
    data.load.cache_clear()
    monkeypatch.setattr("normzoo_bench.decode.decode", lambda *_: pytest.fail("decoded again"))
    assert loaded(str(folder)).classes == 3


def test_the_same_folder_elsewhere_has_the_same_name_and_other_content_has_not(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    first, moved = parquet_folder(one, train=table()), parquet_folder(two, train=table())
    assert data.find(str(first)).name == data.find(str(moved)).name
    assert str(tmp_path) not in data.find(str(first)).name
    table(15).to_parquet(moved / "train.parquet")
    assert data.find(str(first)).name != data.find(str(moved)).name


def test_gray_pictures_have_one_channel(tmp_path):
    assert loaded(str(parquet_folder(tmp_path, train=table(mode="L")))).shape == (1, 8, 8)


def test_a_folder_saved_to_disk_as_arrow_loads(tmp_path):
    datasets.DatasetDict(train=table(), validation=table(6)).save_to_disk(tmp_path / "arrow")
    found = loaded(str(tmp_path / "arrow"))
    assert found.test is not None
    assert len(found.test.labels) == 6


def test_a_folder_of_pictures_by_class_loads(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "photos" / "train" / name).mkdir(parents=True)
        for number, picture in enumerate(pictures(4)):
            picture.save(tmp_path / "photos" / "train" / name / f"{number}.png")
    found = loaded(str(tmp_path / "photos"))
    assert found.classes == 2
    assert sorted(found.train.labels.tolist()) == [0] * 4 + [1] * 4


def test_a_set_with_one_part_is_split_by_the_seed(tmp_path):
    found = loaded(str(parquet_folder(tmp_path, train=table(30))))
    assert found.test is None
    assert found.train_size() == 24


def test_two_label_columns_are_ambiguous_and_a_named_one_is_taken(tmp_path):
    folder = parquet_folder(tmp_path, train=table(extra={"breed": list(range(12))}))
    with pytest.raises(UsageError, match=r"several columns that may be the label: label, breed; choose one"):
        loaded(str(folder))
    assert loaded(f"{folder}(label=breed)").classes == 12


def test_a_set_without_pictures_names_its_columns(tmp_path):
    folder = parquet_folder(tmp_path, train=datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}))
    with pytest.raises(UsageError, match=r"no image column; its columns: text, label"):
        loaded(str(folder))


def test_a_set_without_labels_names_its_columns(tmp_path):
    part = datasets.Dataset.from_dict({"img": pictures(3)}, features=datasets.Features({"img": datasets.Image()}))
    with pytest.raises(UsageError, match=r"no label column; its columns: img"):
        loaded(str(parquet_folder(tmp_path, train=part)))


def test_pictures_of_several_sizes_want_a_size_and_get_it(tmp_path):
    columns = {"img": [*pictures(6, 8), *pictures(6, 12)], "label": [i % 2 for i in range(12)]}
    kinds = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(num_classes=2)})
    folder = parquet_folder(tmp_path, train=datasets.Dataset.from_dict(columns, features=kinds))
    with pytest.raises(UsageError, match=r"images of 2 sizes; choose one, such as --set 'dataset=.*\(size=64\)'"):
        loaded(str(folder))
    assert loaded(f"{folder}(size=10)").shape == (3, 10, 10)


def test_parts_of_two_sizes_want_a_size_too(tmp_path):
    folder = parquet_folder(tmp_path, train=table(), test=part_of(pictures(3, 12), [0, 1, 2], CLASSES))
    with pytest.raises(UsageError, match="images of 2 sizes"):
        loaded(str(folder))


@pytest.mark.parametrize("size", ["0", "true", "big", "1.5"])
def test_a_size_that_is_no_count_of_pixels_is_refused(tmp_path, size):
    with pytest.raises(UsageError, match="size is a whole number of pixels above 0"):
        loaded(f"{parquet_folder(tmp_path, train=table())}(size={size})")


def test_a_folder_that_holds_no_data_is_said_to_be_unloadable(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"cannot load the data set"):
        loaded(str(tmp_path / "empty"))


@pytest.mark.parametrize("name", ["no such set", "a/b/c", "/nowhere/at/all"])
def test_a_name_that_can_be_nothing_says_what_it_could_be(name):
    with pytest.raises(UsageError, match=r"neither one of digits, cifar10, .*, nor a folder here, nor a hub id"):
        data.find(name)


def test_an_unknown_option_of_a_data_set_is_refused():
    with pytest.raises(UsageError, match=r"unknown option 'colour'.*known: image, label, size"):
        data.find("a/b(colour=red)")
    with pytest.raises(UsageError, match=r"digits has no options"):
        data.find("digits(size=64)")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0] * 9 + [1] * 9 + [2], "one image of class 2.*leave the class out"),
        ([0, 0, 1, 1, 2, 2], "a fifth of its 6 images.*fewer than its 3 classes"),
    ],
)
def test_what_no_seed_can_split_is_said_before(labels, message):
    with pytest.raises(ValueError, match="The"):  # scikit-learn's own words
        one_part(labels).parts(0, "all")
    with pytest.raises(UsageError, match=f"^pets has no labelled test part, and .*{message}"):
        one_part(labels).check("pets")


def test_what_a_seed_can_split_passes_though_a_class_is_absent():
    one_part([0] * 2 + [2] * 9).check("pets")
    train, test = one_part([0] * 2 + [2] * 9).parts(0, "all")
    assert (len(train.labels), len(test.labels)) == (8, 3)


def test_the_classes_counted_are_those_of_the_seeds_training_part(digits):
    for seed, samples in ((0, 12), (1, 12), (0, "all")):
        train, _ = digits.parts(seed, samples)
        assert digits.present_classes(seed, samples) == len(train.labels.unique())
    assert digits.present_classes(0, 12) < 10


# a folder's name


def test_a_misspelt_folder_beside_others_is_not_taken_for_a_hub_id(tmp_path, monkeypatch):
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="there is no folder 'cast' in photos; it holds: cats"):
        data.find("photos/cast")
    assert data.find("someone/cats").where == "someone/cats"


# short names of the hub's data sets


class Hub(dict):
    """Data sets by id and config, and what was asked for; any other name is not there, and folders load as ever."""

    def __init__(self):
        super().__init__()
        self.asked, self.of_folders = [], datasets.load_dataset

    def load_dataset(self, where, config=None, **options):
        if Path(where).is_absolute():
            return self.of_folders(where, config, **options)
        self.asked.append((where, config))
        if (where, config) not in self:
            raise ConnectionError(f"Couldn't reach {where!r} on the Hub (ConnectError)")
        return datasets.DatasetDict(self[where, config])


@pytest.fixture
def hub(monkeypatch):
    held = Hub()
    monkeypatch.setattr(datasets, "load_dataset", held.load_dataset)
    return held


def cifar100_like(count):
    """Images under ``img``, and two columns of class labels."""
    kinds = {"img": datasets.Image(), "fine_label": datasets.ClassLabel(num_classes=100)}
    kinds["coarse_label"] = datasets.ClassLabel(num_classes=20)
    columns = {"img": pictures(count, 32), "fine_label": [7 * i for i in range(count)]}
    columns["coarse_label"] = [i % 20 for i in range(count)]
    return datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))


def photographs(labels):
    """Oblong images, of which no two have one size."""
    images = [Image.new("RGB", (20 + i, 12 + i), (i, 0, 0)) for i in range(len(labels))]
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    return datasets.Dataset.from_dict({"image": images, "label": labels}, features=kinds)


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("cifar10", "uoft-cs/cifar10"),
        ("cifar100", "uoft-cs/cifar100"),
        ("fashion_mnist", "zalando-datasets/fashion_mnist"),
        ("imagenette", "frgfm/imagenette"),
        ("imagenet-1k", "ILSVRC/imagenet-1k"),
    ],
)
def test_a_short_name_stays_as_it_is_in_settings_and_loads_from_the_hub(name, id_):
    source = data.find(name)
    assert (source.name, source.where) == (name, id_)
    assert f"hub id {id_}" in known_names()[name]


def test_cifar100_has_its_hundred_fine_classes_and_the_coarse_ones_where_told(hub):
    hub["uoft-cs/cifar100", None] = {"train": cifar100_like(12), "test": cifar100_like(6)}
    fine, coarse = loaded("cifar100"), loaded("cifar100(label=coarse_label)")
    assert (fine.classes, fine.test.labels.tolist()) == (100, [0, 7, 14, 21, 28, 35])
    assert (coarse.classes, coarse.test.labels.tolist()) == (20, [0, 1, 2, 3, 4, 5])


def test_imagenette_is_its_160_pixel_config_cut_to_squares_and_tested_on_validation(hub):
    hub["frgfm/imagenette", "160px"] = {"train": photographs([0, 1] * 4), "validation": photographs([2, 3, 1])}
    found = loaded("imagenette")
    assert found.shape == (3, 160, 160)
    assert found.test.labels.tolist() == [2, 3, 1]
    assert found.train.images[:, 0].flatten(1).float().mean(1).tolist() == list(range(8))


def test_given_options_win_over_those_of_a_short_name(hub):
    hub["frgfm/imagenette", "320px"] = {"train": photographs([0, 1] * 4), "extra": photographs([4])}
    found = loaded("imagenette(config=320px, size=16, test=extra)")
    assert (found.shape, found.test.labels.tolist()) == ((3, 16, 16), [4])


def test_imagenets_unlabelled_test_part_is_left_alone(hub):
    parts = {"train": photographs([0, 1] * 4), "validation": photographs([2, 3, 1]), "test": photographs([-1, -1])}
    hub["ILSVRC/imagenet-1k", None] = parts
    assert loaded("imagenet-1k(size=16)").test.labels.tolist() == [2, 3, 1]


def test_fashion_mnist_is_gray(hub):
    names = ("image", "label")
    hub["zalando-datasets/fashion_mnist", None] = {"train": table(9, names, "L"), "test": table(3, names, "L")}
    assert loaded("fashion_mnist").shape == (1, 8, 8)


def test_a_short_name_is_asked_for_once(hub):
    hub["uoft-cs/cifar10", None] = {"train": table(12), "test": table(6)}
    loaded("cifar10")
    data.load.cache_clear()
    loaded("cifar10")
    assert hub.asked == [("uoft-cs/cifar10", None)]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("imagenette(size=160)", "imagenette"),
        ("imagenette(config='160px', size=160.0)", "imagenette"),
        ("imagenette(size=64, config=160px)", "imagenette(size=64)"),
        ("cifar10(size=None)", "cifar10"),
        ("cifar100(label=coarse_label)", "cifar100(label=coarse_label)"),
    ],
)
def test_options_that_a_short_name_has_anyway_leave_its_name_alone(given, name):
    assert data.find(given).name == name


@pytest.mark.parametrize(
    ("name", "meant"),
    [("CIFAR-10", "cifar10"), ("imagenet1k", "imagenet-1k"), ("fashion-mnist", "fashion_mnist"), ("Digits", "digits")],
)
def test_another_spelling_of_a_short_name_is_told_the_right_one(name, meant):
    with pytest.raises(UsageError, match=f"unknown data set '{name}'; did you mean '{meant}'"):
        data.find(name)


def test_a_short_name_goes_before_a_folder_of_that_name_which_has_another_spelling(tmp_path, monkeypatch, hub):
    parquet_folder(tmp_path, train=table()).rename(tmp_path / "cifar10")
    monkeypatch.chdir(tmp_path)
    assert data.find("cifar10").name == "cifar10"
    assert data.find("./cifar10").name.startswith("cifar10@")
    assert loaded("./cifar10").classes == 3
    with pytest.raises(UsageError, match=r"Couldn't reach 'uoft-cs/cifar10' on the Hub.*here, write \./cifar10"):
        loaded("cifar10")
    assert hub.asked == [("uoft-cs/cifar10", None)]


def test_a_hub_that_cannot_be_reached_is_said_in_one_line(hub):
    with pytest.raises(UsageError) as caught:
        loaded("cifar100")
    message = "ConnectionError: Couldn't reach 'uoft-cs/cifar100' on the Hub (ConnectError)"
    assert str(caught.value) == f"cannot load the data set 'uoft-cs/cifar100': {message}"
