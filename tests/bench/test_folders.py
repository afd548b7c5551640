"""Folders: their names follow their data, and what was decoded is kept."""

from __future__ import annotations

import os
import shutil

import pytest
import torch
from pets import loaded, one_part, parquet_folder, part_of, table
from PIL import Image

from normzoo_bench import data, folders
from normzoo_bench.errors import UsageError

pytestmark = pytest.mark.usefixtures("own_caches")


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
