"""What all benchmarks share: options, one thread, memory that stays, and the table that comes last."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from cases import RESNET
from normzoo_bench.environment import environment
from normzoo_bench.timing.allocator import keep_freed_memory
from ratios import Rows, text
from selection import selected

ROWS = pytest.StashKey[Rows]()
KEPT = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of `pytest bench/`."""
    group = parser.getgroup("normzoo")
    group.addoption("--batch-size", type=int, help="samples per step; 32 on a CPU and 256 on a GPU by default")
    group.addoption("--full", action="store_true", help="all norm shapes of ResNet-50, not a few")
    group.addoption("--shapes", default="", help=f"these shapes, with commas between: {','.join(RESNET)}, 256, ...")


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the process before anything large is allocated; refuse wrong options here, where it is told once."""
    config.stash[ROWS], config.stash[KEPT] = Rows(), keep_freed_memory()
    selected(config, [])


@pytest.fixture
def rows(pytestconfig: pytest.Config) -> Rows:
    """The rows of the table that comes last."""
    return pytestconfig.stash[ROWS]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Time on one thread."""
    torch.set_num_threads(1)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> Iterator[None]:
    """Write the table after all else."""
    yield
    if config.stash[ROWS].rows:
        terminalreporter.section("ratios")
        terminalreporter.write_line(text(config.stash[ROWS], _surroundings(config)))


def _surroundings(config: pytest.Config) -> str:
    found = environment()
    device = found["gpu"] or found["cpu"]
    kept = "freed memory is kept" if config.stash[KEPT] else "freed memory goes back to the system"
    return f"{device}, torch {found['torch']}, one thread, {kept}"
