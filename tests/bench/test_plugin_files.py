"""Files of normalizers that change the process which plans: its workers do not get to see that."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from normzoo.plugins import PluginError
from normzoo_bench import plugin_files

MEDDLES = """
import os, sys
import normzoo
from normzoo.norms import NoNorm
os.environ["ATEN_CPU_CAPABILITY"] = "default"
os.environ.pop("HOME", None)
os.chdir("/")
os.umask(0)
sys.path.insert(0, "/nowhere")
{then}
@normzoo.register("{name}", paper="none", year=None, pools=set())
class Meddles(NoNorm):
    pass
"""


def surroundings() -> tuple[object, ...]:
    mask = os.umask(0o022)
    os.umask(mask)
    return dict(os.environ), Path.cwd(), [*sys.path], mask


@pytest.mark.parametrize("then", ["", "raise ValueError('odd')"])
def test_what_a_file_changes_is_put_back_however_it_ends(tmp_path: Path, then: str) -> None:
    file = tmp_path / "meddles.py"
    file.write_text(MEDDLES.format(then=then, name=f"meddles_{len(then)}"), encoding="utf-8")
    before = surroundings()
    if then:
        with pytest.raises(PluginError):
            plugin_files.load(file)
    else:
        assert plugin_files.load(file) == ["meddles_0"]
    assert surroundings() == before
