"""Whether Python and the installed packages are what normzoo requires, and fit each other."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING, Any

from normzoo_bench.diagnosis.children import ask
from normzoo_bench.diagnosis.finding import Finding
from normzoo_bench.diagnosis.imported import CUDA

if TYPE_CHECKING:
    from packaging.requirements import Requirement

TRIED = ("torch", "torchvision", "timm", "normzoo_bench.planner", CUDA)
"""Imported to see whether they can be: what is built for one version of another, then everything else at once."""

OPTIONAL = ("ray", "tensorboard", "mlflow", "wandb")
SECONDS = 180.0

_TOGETHER = "install both anew, in one command: pip install --force-reinstall torch torchvision"


def versions() -> Iterator[Finding]:
    """Hold Python and every required package to its lower bound; what torchvision asks of torch, too."""
    required = metadata.metadata("normzoo")["Requires-Python"]
    yield from _python(platform.python_version(), required or "")
    ours = _requirements("normzoo")
    wrong = [found for one in ours if (found := _fits(one, "normzoo"))]
    for name in ("torchvision", "timm"):
        if _version(name):
            theirs = [one for one in _requirements(name) if one.name in ("torch", "torchvision")]
            wrong += [found for one in theirs if (found := _fits(one, f"{name} {_version(name)}"))]
    yield from wrong
    if not wrong:
        yield Finding("packages", "good", f"{len(ours)} required packages are there, in versions that fit")


def _python(version: str, required: str) -> Iterator[Finding]:
    from packaging.specifiers import SpecifierSet

    if SpecifierSet(required).contains(version, prereleases=True):
        yield Finding("Python", "good", version)
    else:
        yield Finding(
            "Python",
            "fault",
            f"{version}, and normzoo needs {required}",
            f"install Python {required}, and normzoo there",
        )


def _requirements(name: str) -> list[Requirement]:
    """Give what a package requires here, without its extras."""
    from packaging.requirements import Requirement

    parsed = [Requirement(text) for text in metadata.requires(name) or []]
    return [one for one in parsed if one.marker is None or one.marker.evaluate({"extra": ""})]


def _fits(needed: Requirement, who: str) -> Finding | None:
    version = _version(needed.name)
    if version and needed.specifier.contains(version, prereleases=True):
        return None
    text = f"{needed.name}{needed.specifier}"
    found = f"{needed.name} {version} is installed" if version else f"{needed.name} is not installed"
    both = {needed.name, who.partition(" ")[0]} == {"torch", "torchvision"}
    return Finding(
        "packages", "fault", f"{found}, and {who} needs {text}", _TOGETHER if both else f"pip install '{text}'"
    )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def optional() -> Iterator[Finding]:
    """Say which packages are there that some options use, and nothing needs."""
    there = {name: version for name in OPTIONAL if (version := _version(name))}
    lacking = [name for name in OPTIONAL if name not in there]
    parts = [", ".join(f"{name} {version}" for name, version in there.items()) or "none"]
    parts += [f"not there: {', '.join(lacking)}"] if lacking else []
    yield Finding("optional packages", "good", "; ".join(parts))


def imports(said: dict[str, dict[str, Any]]) -> Iterator[Finding]:
    """Say what of ``TRIED`` cannot be imported; put into ``said`` what was said of each, by name.

    What fails as something before it did fails because of it, and is not told twice.
    """
    _try(said)
    good, errors = [], set[str]()
    for name in TRIED:
        if name not in said or name == CUDA:
            continue
        error = str(said[name]["error"])
        if not error:
            good.append(f"{name} {_version(name)}".strip())
        elif error not in errors:
            errors.add(error)
            yield _unimportable(name, error)
    if good:
        yield Finding("imports", "good", ", ".join(good))


def _try(said: dict[str, dict[str, Any]]) -> None:
    """Import what a run imports, in a process of its own.

    Where something kills it, the next process goes on with what comes after; without torch none does.
    """
    while left := [name for name in TRIED if name not in said]:
        answers = ask("imported", left, SECONDS)
        said |= {one["name"]: one for one in answers.said}
        if answers.ended and len(answers.said) < len(left):
            name = left[len(answers.said)]
            said[name] = {"name": name, "error": answers.ended}
        if said.get("torch", {}).get("error") or not answers.ended:
            break


def _unimportable(name: str, error: str) -> Finding:
    called = f"{name} {_version(name)}".strip()
    if name == "torchvision":
        found = f"{called} cannot be imported beside torch {_version('torch')}: {error}; they may not belong together"
        return Finding("imports", "fault", found, _TOGETHER)
    do = f"install it anew: pip install --force-reinstall {name}" if "." not in name else "install normzoo anew"
    return Finding("imports", "fault", f"{called} cannot be imported: {error}", do)
