"""Loading: the embedded digits, folders as users have them, and what bad ones are told."""

from __future__ import annotations

import io
import os
import shutil

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from normzoo_bench import data, decode, folders
from normzoo_bench.errors import UsageError


@pytest.fixture(autouse=True)
def own_caches(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("NORMZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hf"))
    data.load.cache_clear()


def pictures(count, size=8, mode="RGB"):
    draw = np.random.default_rng(0)
    shape = (size, size, 3) if mode == "RGB" else (size, size)
    return [Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8), mode=None) for _ in range(count)]


def table(count=12, names=("img", "label"), mode="RGB", extra=None):
    columns = {names[0]: pictures(count, mode=mode), names[1]: [i % 3 for i in range(count)]} | (extra or {})
    kinds = {names[0]: datasets.Image(), names[1]: datasets.ClassLabel(names=["cat", "dog", "owl"])}
    for name in extra or {}:
        kinds[name] = datasets.ClassLabel(num_classes=12)
    return datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))


def parquet_folder(tmp_path, **parts):
    folder = tmp_path / "pets"
    folder.mkdir()
    for name, part in parts.items():
        part.to_parquet(folder / f"{name}.parquet")
    return folder


def loaded(text):
    source = data.find(text)
    return data.load(source.name, source.where)


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
    with pytest.raises(UsageError, match=r"neither embedded \(digits\), nor a folder here, nor a hub id"):
        data.find(name)


def test_an_unknown_option_of_a_data_set_is_refused():
    with pytest.raises(UsageError, match=r"unknown option 'colour'.*known: image, label, size"):
        data.find("a/b(colour=red)")
    with pytest.raises(UsageError, match=r"digits has no options"):
        data.find("digits(size=64)")


CLASSES = datasets.ClassLabel(num_classes=3)
NUMBERS = datasets.Value("int64")


def part_of(images, labels, kind=NUMBERS):
    features = datasets.Features({"img": datasets.Image(), "label": kind})
    return datasets.Dataset.from_dict({"img": images, "label": labels}, features=features)


def saved(tmp_path, **parts):
    """Save parts as arrow files, under any names."""
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "pets")
    return str(tmp_path / "pets")


# colours


@pytest.mark.parametrize("first", ["train", "test"])
def test_one_colour_picture_anywhere_makes_all_of_both_parts_colour(tmp_path, first):
    gray, mixed = pictures(4, mode="L"), [*pictures(3, mode="L"), *pictures(1)]
    parts = {"train": gray, "test": mixed} if first == "train" else {"train": mixed, "test": gray}
    found = loaded(saved(tmp_path, **{name: part_of(images, [0, 1, 0, 1]) for name, images in parts.items()}))
    assert found.shape == (3, 8, 8)
    expected = [np.array(image.convert("RGB")) for images in parts.values() for image in images]
    assert np.array_equal(torch.cat([found.train.images, found.test.images]).permute(0, 2, 3, 1), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_gray_of_any_spelling_is_one_channel(tmp_path, mode):
    images = [image.convert(mode) for image in pictures(4, mode="L")]
    found = loaded(saved(tmp_path, train=part_of(images, [0, 1, 0, 1])))
    assert found.shape == (1, 8, 8)
    assert np.array_equal(found.train.images[:, 0], [np.array(image.convert("L")) for image in images])


def test_sixteen_bits_of_gray_are_scaled_and_not_clipped(tmp_path):
    ramp = np.array([[0, 257, 32768], [300, 65278, 65535]], dtype=np.uint16)
    found = loaded(saved(tmp_path, train=part_of([Image.fromarray(ramp)] * 4, [0, 1, 0, 1])))
    assert found.train.images[0, 0].tolist() == [[0, 1, 128], [1, 254, 255]]  # of 255 at 65535


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_gray_without_a_known_white_is_refused_with_its_row(tmp_path, kind):
    buffer = io.BytesIO()
    Image.fromarray(np.ones((8, 8), dtype=kind)).save(buffer, "tiff")
    images = [*pictures(3, mode="L"), {"bytes": buffer.getvalue(), "path": None}]
    with pytest.raises(UsageError, match=r"row 3 of the part 'train': .*its mode . does not say what is white"):
        loaded(saved(tmp_path, train=part_of(images, [0, 1, 0, 1])))


def transparent(image):
    image = image.convert("P")
    image.info["transparency"] = bytes(range(256))
    return image


@pytest.mark.parametrize(
    "change", [lambda i: i.convert("RGBA"), lambda i: i.convert("P"), transparent, lambda i: i.convert("CMYK")]
)
def test_pictures_with_alpha_a_palette_or_four_inks_become_colour(tmp_path, change):
    images = [change(image) for image in pictures(4)]
    buffers = [io.BytesIO() for _ in images]
    for image, buffer in zip(images, buffers, strict=True):
        image.save(buffer, "tiff" if image.mode == "CMYK" else "png")
    rows = [{"bytes": buffer.getvalue(), "path": None} for buffer in buffers]
    found = loaded(saved(tmp_path, train=part_of(rows, [0, 1, 0, 1])))
    expected = [np.array(image.convert("RGBA").convert("RGB")) for image in images]
    assert np.array_equal(found.train.images.permute(0, 2, 3, 1), expected)


def test_bytes_that_are_no_picture_are_told_by_part_and_row(tmp_path):
    whole = io.BytesIO()
    pictures(1)[0].save(whole, "png")
    for number, broken in enumerate((whole.getvalue()[:50], b"no picture", None)):
        bad = part_of([*pictures(2), broken and {"bytes": broken, "path": None}], [0, 1, 1])
        with pytest.raises(UsageError, match=r"cannot read the image in row 2 of the part 'test': \w+: ") as caught:
            loaded(saved(tmp_path / str(number), train=part_of(pictures(4), [0, 1, 0, 1]), test=bad))
        assert "0x" not in str(caught.value)
        assert "\n" not in str(caught.value)


# parts


def test_a_test_part_with_hidden_labels_gives_way_to_one_with_labels(tmp_path):
    train, validation = part_of(pictures(4), [0, 1, 0, 1]), part_of(pictures(3), [1, 0, 1])
    found = loaded(saved(tmp_path, train=train, test=part_of(pictures(2), [-1, -1]), validation=validation))
    assert found.test.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("labels", [[-1, -1], [None, None]])
def test_a_set_whose_only_test_part_has_no_labels_is_split_by_the_seed(tmp_path, labels):
    train = part_of(pictures(10), [0, 1] * 5, CLASSES)
    found = loaded(saved(tmp_path, train=train, test=part_of(pictures(2), labels, CLASSES)))
    assert found.test is None
    assert found.train_size() == 8


def decoded(monkeypatch, **parts):
    """Decode parts that ``datasets`` can have, but can neither save nor read from a folder."""
    monkeypatch.setattr(decode, "_open", lambda _: parts)
    return decode.decode("pets", {})


def test_an_empty_test_part_is_no_test_part(monkeypatch):
    assert decoded(monkeypatch, train=table(20), test=table(3).select([])).test is None


def test_an_empty_training_part_is_named(monkeypatch):
    with pytest.raises(UsageError, match="the part 'train' is empty"):
        decoded(monkeypatch, train=table(3).select([]), test=table(3))


def test_a_file_that_cannot_be_read_is_told_with_the_cause(tmp_path):
    folder = parquet_folder(tmp_path, train=table(20))
    (folder / "test.parquet").write_bytes(b"not parquet")
    with pytest.raises(UsageError, match=r"cannot load the data set .*/pets': ArrowInvalid: "):
        loaded(str(folder))


def test_a_test_part_with_some_labels_hidden_is_refused_with_its_row(tmp_path):
    folder = saved(tmp_path, train=part_of(pictures(4), [0, 1, 0, 1]), test=part_of(pictures(3), [0, -1, 1]))
    with pytest.raises(UsageError, match=r"row 1 of the part 'test' has the label -1, which is no class"):
        loaded(folder)


def test_minus_one_is_a_class_like_any_other_where_the_training_part_has_it(tmp_path):
    folder = saved(tmp_path, train=part_of(pictures(4), [-1, 1, -1, 1]), test=part_of(pictures(2), [-1, -1]))
    assert loaded(folder).test.labels.tolist() == [0, 0]


def test_the_part_to_test_on_can_be_named(tmp_path):
    parts = {name: part_of(pictures(count), [0, 1] * (count // 2)) for name, count in (("train", 8), ("test", 4))}
    folder = saved(tmp_path, **parts, validation=part_of(pictures(2), [1, 1]), hidden=part_of(pictures(1), [-1]))
    assert len(loaded(folder).test.labels) == 4
    assert loaded(f"{folder}(test=validation)").test.labels.tolist() == [1, 1]
    for wrong in ("dev", "train"):
        with pytest.raises(UsageError, match=f"no part '{wrong}' to test on; .*'train': test, validation, hidden"):
            loaded(f"{folder}(test={wrong})")
    with pytest.raises(UsageError, match="the part 'hidden' has no labels to test on"):
        loaded(f"{folder}(test=hidden)")


def test_several_parts_without_one_called_train_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"no part called 'train', and several others: fold_1, fold_2"):
        loaded(saved(tmp_path, fold_1=table(), fold_2=table()))


def test_a_single_part_of_any_name_is_the_training_part(tmp_path):
    assert len(loaded(saved(tmp_path, validation=table(9))).train.labels) == 9


# labels


def test_labels_that_are_words_are_numbered_in_their_order(tmp_path):
    words = datasets.Value("string")
    train = part_of(pictures(4), ["owl", "cat", "owl", "dog"], words)
    found = loaded(saved(tmp_path, train=train, test=part_of(pictures(2), ["dog", "owl"], words)))
    assert (found.classes, found.train.labels.tolist(), found.test.labels.tolist()) == (3, [2, 0, 2, 1], [1, 2])


@pytest.mark.parametrize("labels", [[-1] * 4, [None] * 4, [2] * 4])
def test_a_training_part_with_fewer_than_two_classes_is_refused(tmp_path, labels):
    with pytest.raises(UsageError, match="the label column 'label' of the part 'train' has fewer than two classes"):
        loaded(saved(tmp_path, train=part_of(pictures(4), labels, CLASSES)))


def test_a_training_sample_without_a_label_is_told_by_its_row(tmp_path):
    with pytest.raises(UsageError, match="row 2 of the part 'train' has the label None"):
        loaded(saved(tmp_path, train=part_of(pictures(4), [0, 1, None, 1])))


@pytest.mark.parametrize(("options", "kind"), [("image=label", "images"), ("label=img", "labels")])
def test_a_named_column_of_another_kind_is_refused(tmp_path, options, kind):
    with pytest.raises(UsageError, match=f"the column '.*' holds no {kind} but"):
        loaded(f"{saved(tmp_path, train=table())}({options})")


# a set without a test part, split by the seed


def one_part(labels, classes=3):
    labels = torch.tensor(labels)
    return data.DataSet(data.Images(torch.zeros(len(labels), 1, 2, 2), labels), None, classes, "")


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


def settle(folder):
    """Make all files old enough for their fingerprint to be kept."""
    for file in folder.rglob("*"):
        os.utime(file, (1, 1))


def test_a_change_in_the_middle_of_a_large_file_is_another_data_set(tmp_path):
    large = tmp_path / "large.bin"
    content = bytearray(5 * 2**20)
    large.write_bytes(content)
    before = data.find(str(tmp_path)).name
    content[len(content) // 2] = 1
    large.write_bytes(content)
    assert data.find(str(tmp_path)).name != before


def test_a_file_that_has_changed_at_one_time_and_size_is_decoded_anew_all_the_same(tmp_path):
    """The library knows files by their times only, and unpacking an archive may leave these as they were."""
    black, white = ([Image.new("L", (8, 8), color)] * 4 for color in (0, 255))
    for version, images in enumerate((black, white)):
        shutil.rmtree(tmp_path / "pets", ignore_errors=True)
        folder = parquet_folder(tmp_path, train=part_of(images, [0, 1, 0, 1]))
        settle(folder)
        shutil.rmtree(data.cache_folder(), ignore_errors=True)
        assert loaded(str(folder)).train.images.max() == 255 * version


@pytest.mark.parametrize(
    "name", ["README.md", "readme.txt", "LICENSE", "LICENSE-DATA.txt", "notes.md", ".hidden", ".git/objects/00"]
)
def test_words_about_the_data_and_hidden_files_do_not_change_its_name(tmp_path, name):
    (tmp_path / "a.png").write_bytes(b"data")
    before = data.find(str(tmp_path)).name
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("---\nlicense: mit\n---\nwords", encoding="utf-8")
    assert data.find(str(tmp_path)).name == before


@pytest.mark.parametrize("name", ["license_plate.png", "readme.parquet", "cats/.tabby/../b.png"])
def test_data_is_data_whatever_its_name(tmp_path, name):
    (tmp_path / "cats" / ".tabby").mkdir(parents=True)
    before = data.find(str(tmp_path)).name
    (tmp_path / name).write_bytes(b"data")
    assert data.find(str(tmp_path)).name != before


def test_a_readme_that_says_which_file_is_which_part_changes_the_name(tmp_path):
    """The library reads such a header (``datasets``, data files configuration)."""
    before = data.find(str(tmp_path)).name
    readme = tmp_path / "README.md"
    header = "---\nconfigs:\n- config_name: default\n  data_files: one.parquet\n---\n"
    readme.write_text(header, encoding="utf-8")
    told = data.find(str(tmp_path)).name
    readme.write_text(header + "more words", encoding="utf-8")
    assert data.find(str(tmp_path)).name == told != before


def test_a_folder_that_has_not_changed_is_read_once(tmp_path, monkeypatch):
    folder = parquet_folder(tmp_path, train=table())
    settle(folder)
    before = data.find(str(folder)).name
    monkeypatch.setattr(folders, "_content", lambda _: pytest.fail("read again"))
    assert data.find(str(folder)).name == before


def test_a_file_written_just_now_is_read_again_since_its_time_may_not_change(tmp_path):
    file = tmp_path / "a.bin"
    file.write_bytes(b"one")
    stat = file.stat()
    before = data.find(str(tmp_path)).name
    file.write_bytes(b"two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert data.find(str(tmp_path)).name != before


def test_a_damaged_memo_is_read_past(tmp_path):
    folder = parquet_folder(tmp_path, train=table())
    settle(folder)
    before = data.find(str(folder)).name
    (memo,) = data.cache_folder().glob("*.fingerprint")
    memo.write_bytes(b"\xff\x00")
    assert data.find(str(folder)).name == before


def test_where_no_memo_can_be_kept_the_name_is_the_same(tmp_path, monkeypatch):
    folder = parquet_folder(tmp_path, train=table())
    settle(folder)
    before = data.find(str(folder)).name
    monkeypatch.setenv("NORMZOO_CACHE", str(folder / "train.parquet" / "below a file"))
    assert data.find(str(folder)).name == before


# the cache


@pytest.mark.parametrize("content", [b"", b"no archive", None, "an archive of something else"])
def test_a_damaged_cache_file_is_decoded_again(tmp_path, content):
    folder = parquet_folder(tmp_path, train=table())
    before = loaded(str(folder))
    (file,) = data.cache_folder().glob("*.pt")
    whole = file.read_bytes()
    file.unlink()  # not in place: ``before`` maps the old one
    if isinstance(content, str):
        torch.save([content], file)
    else:
        file.write_bytes(whole[: len(whole) // 2] if content is None else content)
    data.load.cache_clear()
    assert torch.equal(loaded(str(folder)).train.images, before.train.images)


def test_what_an_older_decoder_has_cached_is_not_read(tmp_path, monkeypatch):
    folder = parquet_folder(tmp_path, train=table())
    loaded(str(folder))
    monkeypatch.setattr(data, "DECODER", data.DECODER + 1)
    monkeypatch.setattr("normzoo_bench.decode.decode", lambda *_: one_part([0, 1]))
    data.load.cache_clear()
    assert loaded(str(folder)).train_size() == 1


def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path, monkeypatch):
    folder = parquet_folder(tmp_path, train=table())
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("NORMZOO_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"cannot write decoded data to .*file: .*set NORMZOO_CACHE"):
        loaded(str(folder))


def test_a_full_disk_says_what_to_set_and_leaves_no_half_file(tmp_path, monkeypatch):
    def full(_kept, file):
        file.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UsageError, match="failed writing file; set NORMZOO_CACHE"):
        loaded(str(parquet_folder(tmp_path, train=table())))
    assert not list(data.cache_folder().glob("*.part"))


def test_a_misspelt_folder_beside_others_is_not_taken_for_a_hub_id(tmp_path, monkeypatch):
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="there is no folder 'cast' in photos; it holds: cats"):
        data.find("photos/cast")
    assert data.find("someone/cats").where == "someone/cats"
