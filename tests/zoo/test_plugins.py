"""Normalizers from outside: a file from anywhere, or the entry points of installed packages."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import normzoo
from normzoo import plugins

GOOD = """
import normzoo
from torch import nn

@normzoo.register("{name}", paper="none", year=2025, pools=set())
class Layer(nn.Module):
    '''{name}.'''
    def __init__(self, num_features):
        super().__init__()
"""


def written(folder: Path, text: str, name: str = "my_norm.py") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_a_file_registers_its_normalizers_and_gives_their_names(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD.format(name="mine") + GOOD.format(name="mine_too").replace("Layer", "Other"))
    assert plugins.load(file) == ["mine", "mine_too"]
    assert normzoo.create("mine", 4).__class__.__qualname__ == "Layer"
    assert not normzoo.card("mine").built_in


def test_loading_a_file_twice_runs_it_once(tmp_path: Path) -> None:
    notes = "\nwith open(__file__ + '.log', 'a') as log: log.write('run ')\n"
    file = written(tmp_path, GOOD.format(name="mine") + notes)
    assert plugins.load(file) == plugins.load(str(file)) == ["mine"]
    assert Path(f"{file}.log").read_text() == "run "


def test_a_changed_file_is_loaded_anew(tmp_path: Path) -> None:
    plugins.load(written(tmp_path, GOOD.format(name="mine")))
    assert plugins.load(written(tmp_path, GOOD.format(name="mine").replace("2025", "2026"))) == ["mine"]
    assert normzoo.card("mine").year == 2026


def test_files_of_one_name_in_two_folders_do_not_meet(tmp_path: Path) -> None:
    for name in ("one", "two"):
        plugins.load(written(tmp_path / name, GOOD.format(name=name)))
    assert normzoo.card("one").summary == "one."
    assert normzoo.card("two").summary == "two."
    assert normzoo.card("one").source_hash != normzoo.card("two").source_hash


def test_another_process_that_loads_the_same_path_can_unpickle_its_classes(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD.format(name="mine"), "my-norm.v2.py")
    plugins.load(file)
    pickled = pickle.dumps(normzoo.create("mine", 4))
    code = f"import pickle; from normzoo import plugins; plugins.load({str(file)!r}); print(pickle.loads({pickled!r}))"
    assert in_new_process(code).strip() == "Layer()"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("\n\n1 / 0\n", 3, "ZeroDivisionError: division by zero"),
        ("x = 1\ndef f(:\n", 2, "SyntaxError: "),
        ("import no_such_module\n", 1, "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit\n", 1, "SystemExit: no message"),
        ("\nimport json\njson.loads('{')\n", 3, "JSONDecodeError: "),  # raised elsewhere, on behalf of line 3
        (GOOD.format(name="batch_norm"), 5, "ValueError: the name 'batch_norm' is taken by "),
    ],
)
def test_a_file_that_raises_is_named_with_the_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    expected = re.escape(f"cannot load my_norm.py, line {line}: {message}")
    with pytest.raises(plugins.PluginError, match=expected) as caught:
        plugins.load(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_file_that_fails_halfway_registers_nothing_and_may_be_mended(tmp_path: Path) -> None:
    before = normzoo.names()
    with pytest.raises(plugins.PluginError, match="line 11"):
        plugins.load(written(tmp_path, GOOD.format(name="mine") + "\n1 / 0"))
    assert normzoo.names() == before
    assert plugins.load(written(tmp_path, GOOD.format(name="mine"))) == ["mine"]


def test_a_broken_change_leaves_what_was_loaded_before(tmp_path: Path) -> None:
    plugins.load(written(tmp_path, GOOD.format(name="mine")))
    factory = normzoo.card("mine").factory
    with pytest.raises(plugins.PluginError):
        plugins.load(written(tmp_path, GOOD.format(name="mine") + "\n1 / 0"))
    assert normzoo.card("mine").factory is factory
    assert sys.modules[factory.__module__].Layer is factory


def test_a_file_without_a_normalizer_is_refused_with_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(plugins.PluginError, match=r"my_norm.py registers no normalizer; put @normzoo.register"):
        plugins.load(written(tmp_path, "x = 1\n"))


@pytest.mark.parametrize(
    ("name", "message"),
    [("gone.py", "there is no file '.*gone.py'"), ("my_norm.txt", "ends in .py, got '.*txt'"), ("", "ends in .py")],
)
def test_a_path_that_is_no_python_file_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(plugins.PluginError, match=message):
        plugins.load(tmp_path / name)


def test_a_folder_called_like_a_python_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(plugins.PluginError, match=r"there is no file '.*folder.py'"):
        plugins.load(tmp_path / "folder.py")


def installed(folder: Path, entry_points: str, **modules: str) -> Path:
    """Install a distribution by hand: its metadata and its modules in a folder for sys.path."""
    info = folder / "fancy_norms-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fancy-norms\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{entry_points}\n")
    for name, text in modules.items():
        written(folder, text, f"{name}.py")
    return folder


def in_new_process(code: str, *folders: Path) -> str:
    """Run code where these folders come first on sys.path; give what it prints, warnings among it."""
    path = os.pathsep.join([*map(str, folders), *sys.path])
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_an_installed_package_registers_by_its_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a module, or by a class in one."""
    modules = {"fancy_a": GOOD.format(name="fancy_a"), "fancy_b": GOOD.format(name="fancy_b")}
    monkeypatch.syspath_prepend(installed(tmp_path, "a = fancy_a\nb = fancy_b:Layer", **modules))
    assert plugins.load_entry_points() == ["fancy_a", "fancy_b"]
    assert normzoo.card("fancy_b").summary == "fancy_b."


def test_a_broken_entry_point_is_a_warning_that_names_it_and_the_others_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = {"fancy_c": GOOD.format(name="fancy_c") + "\n1 / 0", "fancy_d": GOOD.format(name="fancy_d")}
    entry_points = "bad = fancy_c\ngone = fancy_gone\ngood = fancy_d"
    monkeypatch.syspath_prepend(installed(tmp_path, entry_points, **modules))
    with pytest.warns(plugins.PluginWarning) as caught:
        assert plugins.load_entry_points() == ["fancy_d"]
    said = [str(warning.message) for warning in caught]
    assert said[0] == (
        "the normalizer plugin 'bad' (fancy_c) of fancy-norms is broken and left out: "
        "ZeroDivisionError: division by zero"
    )
    assert "'gone' (fancy_gone)" in said[1]
    assert "fancy_c" not in normzoo.names()


def test_what_a_broken_plugin_imported_on_the_way_stays_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python will not run the good module again, so its card must not go with the bad one's."""
    modules = {"fancy_e": "import fancy_f\n1 / 0", "fancy_f": GOOD.format(name="fancy_f")}
    monkeypatch.syspath_prepend(installed(tmp_path, "bad = fancy_e\ngood = fancy_f", **modules))
    with pytest.warns(plugins.PluginWarning, match="'bad'"):
        plugins.load_entry_points()
    assert "fancy_f" in normzoo.names()


def test_an_entry_point_that_registers_nothing_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(installed(tmp_path, "empty = fancy_g", fancy_g="x = 1"))
    with pytest.warns(plugins.PluginWarning, match="'empty' .*registers no normalizer"):
        assert plugins.load_entry_points() == []


def test_two_entry_points_to_one_module_are_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry_points = "module = fancy_h\nlayer = fancy_h:Layer"
    monkeypatch.syspath_prepend(installed(tmp_path, entry_points, fancy_h=GOOD.format(name="fancy_h")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plugins.load_entry_points() == ["fancy_h"]


def test_import_normzoo_outlives_a_broken_plugin(tmp_path: Path) -> None:
    folder = installed(tmp_path, "bad = fancy_i\ngood = fancy_j", fancy_i="1 / 0", fancy_j=GOOD.format(name="fancy_j"))
    code = "import normzoo; from normzoo import plugins; plugins.load_entry_points(); print(normzoo.names()[-1])"
    said = in_new_process(code, folder)
    assert said.startswith("fancy_j")
    assert "'bad' (fancy_i) of fancy-norms" in said
