"""The start of a new normalizer: a file that works and keeps its contract, and the test that holds it to that."""

from __future__ import annotations

import keyword
import re
import sys
from importlib import resources
from pathlib import Path
from string import Template

from normzoo import registry


class ScaffoldError(ValueError):
    """A new normalizer cannot be started under this name or in this folder."""


def new(name: str, folder: str | Path = ".") -> list[Path]:
    """Write ``NAME.py`` and ``test_NAME.py`` into a folder, and give their paths.

    Raises:
        ScaffoldError: for a name that is not snake_case, is taken or hides a module, a folder that is not there, or a
            file that is already.

    """
    _check_name(name)
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise ScaffoldError(f"there is no folder {str(folder)!r}; make it first, or name another")
    files = {place / f"{name}.py": "normalizer.py.txt", place / f"test_{name}.py": "test_normalizer.py.txt"}
    for file in files:
        if file.exists():
            raise ScaffoldError(f"{str(file)!r} exists and is not overwritten; choose another name or folder")
    names = {"name": name, "class_name": "".join(part.capitalize() for part in name.split("_"))}
    for file, template in files.items():
        text = resources.files("normzoo").joinpath("templates", template).read_text(encoding="utf-8")
        try:
            file.write_text(Template(text).substitute(names), encoding="utf-8")
        except OSError as error:
            raise ScaffoldError(f"cannot write {str(file)!r}: {error.strerror}; choose another folder") from None
    return list(files)


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ScaffoldError(f"a normalizer's name is snake_case such as 'my_norm', got {name!r}")
    if name in registry.names():
        raise ScaffoldError(f"the name {name!r} is taken by a normalizer; choose another")
    if name in sys.stdlib_module_names or name in sys.modules:
        raise ScaffoldError(f"a file {name}.py would hide the module {name!r} from Python; choose another name")
