"""Streams: what is decoded while a net trains, in which order, and what becomes of images that cannot be."""

from __future__ import annotations

import copy
import random
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from pets import CLASSES, part_of, pictures, saved
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from normzoo_bench import accuracy, commands, data, splits, streamed
from normzoo_bench.errors import UsageError
from normzoo_bench.running import worker
from normzoo_bench.running.store import data_fingerprint
from normzoo_bench.seeds import stream
from normzoo_bench.streamed import DamagedImageError, StreamedSet
from normzoo_bench.training.stream import Decoder, Draw, StreamBatches, check_augment, draws, stream_feeds
from normzoo_bench.training.trainer import ResidentBatches, Training

pytestmark = pytest.mark.usefixtures("own_caches")

COLOURS = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
NORMALIZERS = ["batch_norm", "group_norm", "batch_renorm", "none"]


@pytest.fixture(autouse=True)
def fresh():
    streamed.load_streamed.cache_clear()


def coloured(count, square=None):
    """Noisy pictures of the colour of their class, all squares or of sizes that differ."""
    draw = np.random.default_rng(count)
    made = []
    for i in range(count):
        height, width = (square, square) if square else draw.integers(9, 30, 2)
        noise = draw.normal(COLOURS[i % 3], 25, (height, width, 3))
        made.append(Image.fromarray(noise.clip(0, 255).astype(np.uint8)))
    return part_of(made, [i % 3 for i in range(count)], CLASSES)


def opened(where, size=12):
    source = data.find(f"{where}(size={size})")
    return data.load_as("stream", source.name, source.where)


@pytest.fixture
def photos(tmp_path):
    """Ninety pictures to train on and thirty to test on, of many sizes."""
    return opened(saved(tmp_path, train=coloured(90), test=coloured(30)))


@pytest.fixture
def squares(tmp_path):
    """The same pictures streamed and resident: they have their size already."""
    where = saved(tmp_path, train=coloured(60, 12), test=coloured(20, 12))
    return opened(where), data.load(data.find(where).name, where)


@pytest.fixture
def cell(settings):
    """Build settings of a small streamed cell, changed as told."""
    return lambda **changes: settings(**({"data": "stream", "batch_size": 10} | changes))


def fed(of, given):
    """Both feeds of a cell."""
    return stream_feeds(*of.parts(given.seed, given.train_samples, given.evaluate_on), "cpu")


def pixels(standardized):
    """Undo the standardization: values of 0 to 255."""
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    return (standardized * deviation + mean) * 255


def epoch(batches, number=0):
    batches.begin(number)
    return [batches.take() for _ in range(batches.steps)]


def same(one, other):
    return all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(one, other, strict=True))


# what a stream gives


@pytest.mark.parametrize(
    "changes",
    [{}, {"train_samples": 40}, {"dealing": "by_class", "ranks": 5}, {"split": "exclusive_classes", "ranks": 2}],
)
def test_steps_have_the_samples_that_they_have_with_resident_data(cell, squares, changes):
    streams, resident = squares
    given = cell(**changes)
    lying, _ = accuracy.feeds(*resident.parts(0, given.train_samples), "cpu")
    for number in (0, 1):
        expected = epoch(ResidentBatches(lying, given), number)
        found = epoch(StreamBatches(fed(streams, given)[0], given), number)
        assert len(found) == len(expected) == len(lying) // 10
        for (images, labels), (other, others) in zip(found, expected, strict=True):
            assert torch.equal(labels, others)
            assert torch.equal(pixels(images).round(), (other * lying.deviation + lying.mean).round())


def test_a_picture_is_resized_by_its_shorter_edge_and_its_middle_is_kept(tmp_path, cell):
    wide, tall = Image.radial_gradient("L").resize((48, 24)), Image.linear_gradient("L").resize((24, 30))
    found = opened(saved(tmp_path, train=part_of([wide, tall] * 3, [0, 1] * 3), test=part_of([wide, tall], [0, 1])))
    images, _ = fed(found, cell())[1].batch(slice(None))
    whole = [wide.resize((24, 12), Image.Resampling.BILINEAR), tall.resize((12, 15), Image.Resampling.BILINEAR)]
    expected = [np.asarray(whole[0])[:, 6:18], np.asarray(whole[1])[2:14]]  # 1.5 rows off each end, rounded to even
    assert images.shape == (2, 3, 12, 12)
    for channel in range(3):
        assert np.array_equal(pixels(images)[:, channel].round(), expected)


def test_flips_mirror_about_half_of_the_images_and_change_nothing_else(cell, squares):
    streams, _ = squares
    still, flipped = (
        torch.cat([images for images, _ in epoch(StreamBatches(fed(streams, given)[0], given))])
        for given in (cell(), cell(augment="flip"))
    )
    mirrored = [torch.equal(b, a.flip(-1)) for a, b in zip(still, flipped, strict=True)]
    assert all(m or torch.equal(a, b) for m, a, b in zip(mirrored, still, flipped, strict=True))
    assert 15 <= sum(mirrored) <= 45


def test_crop_flip_is_timms_training_transform_drawn_from_the_samples_own_seed(cell, photos):
    from timm.data.transforms_factory import transforms_imagenet_train

    given = cell(augment="crop_flip", batch_size=4)
    feed, _ = fed(photos, given)
    batches = StreamBatches(feed, given)
    images, _ = epoch(batches, 2)[0]
    transform = transforms_imagenet_train(12, color_jitter=None, interpolation="bilinear", normalize=False)
    order = splits.epochs(given, photos.train.labels.numpy())(2)
    seeds = stream(0, "augmentation of epoch 2").integers(0, 2**63, order.shape)
    for image, row, seed in zip(pixels(images).round(), order[0], seeds[0], strict=True):
        random.seed(int(seed))
        torch.manual_seed(int(seed))
        assert torch.equal(image, transform(photos.train.encoded.picture(0, int(row))).float())


@pytest.mark.parametrize("augment", ["none", "flip", "crop_flip"])
def test_a_seed_gives_the_same_batches_to_the_bit_and_another_seed_or_epoch_gives_others(cell, photos, augment):
    def first(seed, number):
        given = cell(seed=seed, augment=augment)
        return epoch(StreamBatches(fed(photos, given)[0], given), number)

    assert same(first(0, 1), first(0, 1))
    assert not same(first(0, 1), first(0, 0))
    assert not same(first(0, 1), first(1, 1))


def test_under_one_seed_all_normalizers_see_identical_batches(cell, photos, monkeypatch):
    seen = []
    original = StreamBatches.take
    monkeypatch.setattr(StreamBatches, "take", lambda self: seen.append(original(self)) or seen[-1])
    batches = {}
    for name in NORMALIZERS:
        seen.clear()
        accuracy.measure(cell(normalizer=name, augment="crop_flip", epochs=2, ranks=5), photos)
        batches[name] = list(seen)
    assert all(len(found) == 18 and same(found, batches["none"]) for found in batches.values())


def test_decoding_leaves_the_generators_that_training_draws_from_as_they_were(cell, photos):
    given = cell(augment="crop_flip")
    feed, _ = fed(photos, given)
    random.seed(5)
    torch.manual_seed(5)
    before = random.getstate(), torch.get_rng_state()
    epoch(StreamBatches(feed, given))
    feed.batch(slice(0, 5))
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.slow
def test_how_many_processes_decode_does_not_matter(cell, photos):
    asked = [draws(photos.train.take(np.arange(i, i + 9)), "crop_flip", np.arange(9)) for i in range(0, 90, 9)]
    alone, many = Decoder(photos.train.encoded), Decoder(photos.train.encoded, workers=2)
    expected = list(alone.batches(asked))
    for _ in range(2):  # they stay for another sequence
        assert same(list(many.batches(asked)), expected)
    assert torch.equal(many.images(asked[0] + asked[1]), alone.images(asked[0] + asked[1]))


def test_a_sequence_that_another_has_overtaken_gives_nothing_more(photos):
    decoder = Decoder(photos.train.encoded)
    asked = [[Draw(0, row, 0, "none", 0)] for row in range(3)]
    first = decoder.batches(asked)
    next(first)
    list(decoder.batches(asked))
    with pytest.raises(RuntimeError, match="another sequence of batches was begun"):
        next(first)


def test_gray_and_transparent_pictures_are_streamed_in_colour(tmp_path, cell):
    images = [pictures(1, 12, "L")[0], pictures(1, 12)[0].convert("RGBA"), *pictures(2, 12)]
    found = opened(saved(tmp_path, train=part_of(images, [0, 1, 0, 1]), test=part_of(images, [0, 1, 0, 1])))
    given, _ = fed(found, cell())[1].batch(slice(None))
    assert found.shape == (3, 12, 12)
    expected = [np.asarray(image.convert("RGB")).transpose(2, 0, 1) for image in images]
    assert np.array_equal(pixels(given).round(), expected)


# training and tests


def test_a_stream_trains_and_every_reading_is_read(cell, photos):
    given = cell(epochs=4, ranks=5, augment="crop_flip", readings="all", frozen_from=0.5, ema=0.5)
    metrics = accuracy.measure(given, photos).metrics
    readings = {key for key in metrics if key.startswith("test_accuracy")}
    kinds = ("", "_mean_buffers", "_population", "_batch", "_frozen", "_ema")
    assert readings == {f"test_accuracy{kind}" for kind in kinds}
    assert all(metrics[reading] > 0.8 for reading in readings - {"test_accuracy_batch"})


def test_the_same_streamed_cell_gives_the_same_numbers_to_the_bit(cell, photos):
    given = cell(augment="flip", ranks=5, readings="all")
    assert accuracy.measure(given, photos) == accuracy.measure(given, photos)


def test_readings_and_branches_leave_a_streamed_training_as_it_was(cell, photos):
    plain = accuracy.measure(cell(epochs=2), photos)
    read = accuracy.measure(cell(epochs=2, readings="all", frozen_from=0.5), photos)
    assert read.series == plain.series


def test_seeds_of_a_streamed_cell_measured_together_give_what_each_gives_alone(cell, photos):
    cells = [cell(seed=seed, augment="crop_flip") for seed in (0, 1)]
    assert accuracy.measure_together(cells, photos) == [accuracy.measure(one, photos) for one in cells]


def test_streamed_trainings_run_one_after_another_on_a_gpu_too(cell):
    def groups(kind):
        given = cell(device="cuda", data=kind)
        training = SimpleNamespace(model=torch.nn.Linear(2, 2))
        return [len(one) for one in accuracy._side_by_side([SimpleNamespace(settings=given, training=training)] * 3)]

    assert groups("stream") == [1, 1, 1]
    assert groups("resident") == [3]


def test_a_validation_part_is_cut_from_the_streamed_training_part(cell, photos):
    given = cell(evaluate_on="validation", train_samples=50)
    train, held = photos.parts(0, 50, "validation")
    assert (len(train.rows), len(held.rows), held.part) == (50, 10, 0)
    assert not set(train.rows) & set(held.rows)
    assert {"validation_accuracy", "validation_loss"} <= accuracy.measure(given, photos).metrics.keys()


def test_a_streamed_set_of_one_part_is_split_as_a_resident_one_is(tmp_path, cell):
    where = saved(tmp_path, train=coloured(60, 12))
    streams, resident = opened(where), data.load(data.find(where).name, where)
    for changes in ({}, {"seed": 3, "train_samples": 20}, {"train_samples": 20, "evaluate_on": "validation"}):
        given = cell(**changes)
        parts = resident.parts(given.seed, given.train_samples, given.evaluate_on)
        for feed, part in zip(fed(streams, given), parts, strict=True):
            index = torch.tensor([3, 0, 2])
            images, labels = feed.batch(index)
            assert torch.equal(labels, part.labels[index])
            assert torch.equal(pixels(images).round(), part.images[index])
            assert torch.equal(feed.labels, part.labels)


def test_a_branch_has_batches_of_its_own_from_the_same_decoder(cell, photos):
    given = cell(augment="flip")
    batches = StreamBatches(fed(photos, given)[0], given)
    branch = copy.deepcopy(batches)
    assert branch is not batches
    assert branch.feed.decoder is batches.feed.decoder
    assert same(epoch(branch), epoch(batches))


# what is read, and what is not


def test_labels_are_read_and_plans_are_made_without_decoding_an_image(tmp_path, tiny, monkeypatch):
    where = saved(tmp_path, train=coloured(60), test=coloured(20))
    monkeypatch.setattr(datasets.Image, "decode_example", lambda *_, **__: pytest.fail("an image was decoded"))
    found = opened(where)
    assert found.train.labels.tolist() == [i % 3 for i in range(60)]
    assert (found.classes, found.shape, len(found.test.labels)) == (3, (3, 12, 12), 20)
    changes = {"dataset": f"{where}(size=12)", "data": "stream", "batch_size": "20", "train_samples": "all"}
    made = commands.plan(tiny, settings=changes | {"ranks": "1,5"})
    cell = next(cell for cell in made.cells if cell.measure == "accuracy")
    assert isinstance(made.dataset(cell), StreamedSet)
    assert data_fingerprint(made, cell) == cell.settings.dataset.partition("@")[2].partition("(")[0]


def test_folders_of_image_files_are_streamed_too(tmp_path, cell):
    for part, count in (("train", 12), ("test", 6)):
        for number, row in enumerate(coloured(count)):
            folder = tmp_path / "photos" / part / "abc"[row["label"]]
            folder.mkdir(parents=True, exist_ok=True)
            row["img"].save(folder / f"{number}.png")
    found = opened(tmp_path / "photos")
    assert (found.classes, len(found.train.labels), len(found.test.labels)) == (3, 12, 6)
    images, labels = fed(found, cell())[1].batch(slice(None))
    assert torch.equal(images.mean((2, 3)).argmax(1), labels)


def hub(monkeypatch, **parts):
    """Put a data set on the hub; without its cache, the next load asks the hub again."""
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.DatasetDict(parts))
    streamed.load_streamed.cache_clear()
    return opened("someone/pets")


def test_the_fingerprint_of_a_hubs_data_is_that_of_its_labels_and_encoded_images(monkeypatch):
    train, test = coloured(30), coloured(12)
    first = hub(monkeypatch, train=train, test=test).fingerprint
    assert len(first) == 12
    assert hub(monkeypatch, train=coloured(30), test=test).fingerprint == first
    relabelled = train.map(lambda row, i: row | {"label": (i + 1) % 3}, with_indices=True)
    others = [relabelled, coloured(33), part_of(pictures(30), train["label"][:], CLASSES)]
    assert len({first, *(hub(monkeypatch, train=one, test=test).fingerprint for one in others)}) == 4


def test_a_stream_without_a_size_is_told_to_give_one(tmp_path):
    where = saved(tmp_path, train=coloured(30), test=coloured(12))
    source = data.find(where)
    with pytest.raises(UsageError, match=r"needs the size in pixels .* --set 'dataset=.*pets\(size=224\)'"):
        data.load_as("stream", source.name, source.where)


def test_the_embedded_digits_cannot_be_streamed():
    with pytest.raises(UsageError, match="digits is embedded and small, and cannot be streamed"):
        data.load_as("stream", "digits", "digits")


@pytest.mark.parametrize(
    ("augment", "message"),
    [("crop_flip(padding=4)", "pads resident images; .*: write crop_flip"), ("mixup", "unknown augmentation 'mixup'")],
)
def test_an_augmentation_that_a_stream_cannot_have_is_refused(augment, message):
    with pytest.raises(UsageError, match=message):
        check_augment(augment)
    check_augment("crop_flip")


# what is damaged


@pytest.fixture
def damaged(tmp_path):
    """Thirty pictures to train on, of which row 7 is none."""
    part = coloured(30).cast_column("img", datasets.Image(decode=False))
    rows = [row["img"] | {"bytes": row["img"]["bytes"][:60]} if i == 7 else row["img"] for i, row in enumerate(part)]
    return opened(saved(tmp_path, train=part_of(rows, part["label"][:], CLASSES), test=coloured(12)))


def test_a_damaged_image_ends_the_cell_with_its_row_and_part(cell, damaged, monkeypatch):
    ended = []
    original = Training.step
    monkeypatch.setattr(Training, "step", lambda self: original(self) or ended.append(1))
    given = cell(batch_size=2, augment="crop_flip", seed=1)
    with pytest.raises(DamagedImageError, match=r"cannot read the image in row 7 of the part 'train': \w+: ") as caught:
        accuracy.measure(given, damaged)
    order = splits.epochs(given, damaged.train.labels.numpy())(0)
    (step,) = np.flatnonzero((order == 7).any(1))
    assert len(ended) == step - 1 > 0  # one batch is decoded ahead
    told = worker.describe(caught.value)
    assert told.startswith("DamagedImageError: cannot read the image in row 7")
    assert "/" not in told


def test_a_damaged_image_in_the_test_part_is_told_likewise(tmp_path, cell):
    bad = part_of([*pictures(2, 12), {"bytes": b"no picture", "path": None}], [0, 1, 2], CLASSES)
    found = opened(saved(tmp_path, train=coloured(30), test=bad))
    with pytest.raises(DamagedImageError, match="row 2 of the part 'test'"):
        accuracy.measure(cell(), found)


@pytest.mark.slow
def test_a_damaged_image_in_another_process_is_told_in_the_same_words(damaged):
    asked = [[Draw(0, row, 0, "none", 0)] for row in range(10)]
    words = []
    decoders = Decoder(damaged.train.encoded), Decoder(damaged.train.encoded, workers=1)
    for decoder in decoders:
        with pytest.raises(DamagedImageError) as caught:
            list(decoder.batches(asked))
        words.append(str(caught.value))
    assert words[0] == words[1]
    assert len(list(decoders[1].batches(asked[:5]))) == 5  # it goes on with what is whole
