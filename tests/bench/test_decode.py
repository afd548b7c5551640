"""Decoding: colours, sizes, parts, labels and columns of what users bring."""

from __future__ import annotations

import io
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from pets import CLASSES, loaded, parquet_folder, part_of, pictures, saved, table
from PIL import Image

from normzoo_bench import decode
from normzoo_bench.errors import UsageError

pytestmark = pytest.mark.usefixtures("own_caches")


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
    monkeypatch.setattr(decode, "_open", lambda *_: parts)
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


# configs


def folder_with_configs(tmp_path, **parts):
    """A folder of two subsets, as the hub has them: ``configs`` in the head of its README."""
    head = ["---", "configs:"]
    for name, part in parts.items():
        (tmp_path / name).mkdir()
        part.to_parquet(tmp_path / name / "train.parquet")
        head += [f"- config_name: '{name}'", "  data_files:", "  - split: train", f"    path: {name}/train*"]
    (tmp_path / "README.md").write_text("\n".join([*head, "---", ""]), encoding="utf-8")
    return tmp_path


def test_a_folder_with_several_configs_wants_one_and_gets_it(tmp_path):
    small, large = part_of(pictures(6, 8), [0, 1] * 3), part_of(pictures(6, 12), [0, 1] * 3)
    folder = folder_with_configs(tmp_path, **{"160px": small, "320px": large})
    with pytest.raises(UsageError, match=r"among .*'160px', '320px'\]; choose one: --set 'dataset=.*\(config=NAME\)'"):
        loaded(str(folder))
    assert loaded(f"{folder}(config=160px)").shape == (3, 8, 8)
    assert loaded(f"{folder}(config=320px)").shape == (3, 12, 12)
    with pytest.raises(UsageError, match=r"'80px' not found. Available: \['160px', '320px'\]"):
        loaded(f"{folder}(config=80px)")


def test_a_config_that_is_a_number_is_a_name_like_any_other(tmp_path):
    folder = folder_with_configs(tmp_path, **{"2018": part_of(pictures(6), [0, 1] * 3), "2019": table(9)})
    assert loaded(f"{folder}(config=2018)").train.labels.tolist() == [0, 1] * 3


def test_a_config_of_data_that_has_none_is_refused(tmp_path):
    with pytest.raises(UsageError, match="was saved as one data set, which has no configs to choose 'large' from"):
        loaded(f"{saved(tmp_path, train=table())}(config=large)")
    (tmp_path / "parquet").mkdir()
    with pytest.raises(UsageError, match="'large' not found"):
        loaded(f"{parquet_folder(tmp_path / 'parquet', train=table())}(config=large)")


def test_what_is_advised_keeps_the_options_that_were_given(tmp_path):
    images = [*pictures(3, 8), *pictures(3, 12)]
    folder = saved(tmp_path, train=part_of(images, [0, 1] * 3), other=part_of(images, [0, 1] * 3))
    with pytest.raises(UsageError, match=r"\(label=label, size=64, test=other\)'$"):
        loaded(f"{folder}(label=label, test=other)")


# memory


def test_images_that_cannot_fit_into_memory_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    folder = saved(tmp_path, train=table(12), test=table(4))
    monkeypatch.setattr(decode, "_memory", lambda: 3 * 2**30)
    monkeypatch.setattr(decode, "_pictures", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UsageError, match=r"16 images of 10000×10000 take 4 GiB of memory, .* machine has 3; choose"):
        loaded(f"{folder}(size=10000)")


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux says it in a file")
def test_memory_is_what_the_system_says_and_no_limit_where_it_cannot_be_asked(monkeypatch):
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert decode._memory() == pytest.approx(1024 * int(total.split()[1]), rel=0.01)
    monkeypatch.delattr(decode.os, "sysconf")
    assert decode._memory() == float("inf")


# a set without a test part, split by the seed
