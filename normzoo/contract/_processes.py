"""Two data-parallel processes against one: what pools over ranks must not notice them, all else must not talk.

Starting two processes with torch takes seconds, so one pair serves all the cards that are checked together. They are
started with ``python -m`` and not by multiprocessing: that would import the caller's main module in each once more,
which breaks every script without a main guard.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from normzoo import plugins
from normzoo.contract._probe import ContractError, distance
from normzoo.contract._session import RANKS, Session, inputs, session, shards
from normzoo.registry import Card

LIMIT_S = 120.0  # for a pair of processes, whose start takes a few seconds
TOLERANCE = 1e-12  # float64


def check_two_processes_behave_as_the_pools_say(card: Card, faults: Mapping[str, str] | None = None) -> None:
    """Two processes with unequal shards equal one with the whole batch if the pools hold rank, else two apart.

    ``faults`` are those of ``faults_of`` where several cards shared one pair of processes.
    """
    fault = (faults_of([card]) if faults is None else faults).get(card.name)
    if fault:
        raise ContractError(fault)


def faults_of(cards: Sequence[Card]) -> dict[str, str]:
    """Compare two processes with one for each card; give a message by name for each that differs.

    A card that fails inside the processes leaves them out of step, so those after it get a fresh pair.
    """
    faults = {card.name: fault for card in cards if (fault := _unreachable(card))}
    waiting = [card for card in cards if card.name not in faults]
    while waiting:
        results, error = _in_two_processes(waiting)
        for card, pair in zip(waiting, results, strict=False):
            try:
                fault = _difference(card, pair)
            except Exception as failure:  # in this process, whatever its class raises
                fault = f"{type(failure).__name__}: {failure}"
            if fault:
                faults[card.name] = fault
        if len(results) < len(waiting):
            faults[waiting[len(results)].name] = error
        waiting = waiting[len(results) + 1 :]
    return faults


def _unreachable(card: Card) -> str:
    """Say why another process could not import a card's class, if so."""
    with contextlib.suppress(pickle.PicklingError, AttributeError):
        pickle.dumps(card)
        if card.factory.__module__ != "__main__":
            return ""
    where = f"{card.factory.__module__}.{card.factory.__qualname__}"
    return f"another process cannot import {where}; define the class at the top level of a file"


def _in_two_processes(cards: Sequence[Card]) -> tuple[list[list[Session]], str]:
    """Run all cards in one pair of processes; give the sessions of both ranks, and the error that ended them early."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {path for card in cards if (path := plugins.file_of(card.factory.__module__))}
        work = {"plugins": sorted(map(str, files)), "cards": [pickle.dumps(card) for card in cards]}
        (folder / "work.pickle").write_bytes(pickle.dumps(work))
        with _workers(folder) as workers:
            ending = _wait(workers)
        results = []
        for index in range(len(cards)):
            paths = [folder / f"{index}-{rank}.pt" for rank in range(RANKS)]
            if not all(path.exists() for path in paths):
                break
            results.append([torch.load(path, weights_only=True) for path in paths])
        return results, _said(folder, ending)


def _said(folder: Path, ending: str) -> str:
    """Give the error of the rank that failed first (the other then only lost its peer), else how they ended."""
    errors, logs = (
        [
            text
            for path in sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime_ns)
            if (text := _last(path))
        ]
        for pattern in ("error-*.txt", "log-*.txt")
    )
    return errors[0] if errors else ": ".join([ending, *logs[:1]])


def _last(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


@contextlib.contextmanager
def _workers(folder: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start one process per rank, which see the modules that this one sees, and leave none behind."""
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "normzoo.contract._worker", str(folder)]
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(RANKS):
            with (folder / f"log-{rank}.txt").open("wb") as log:  # the process keeps it open
                worker = subprocess.Popen(
                    [*command, str(rank)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
                )
            workers.append(worker)
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _wait(workers: Sequence[subprocess.Popen[bytes]]) -> str:
    """Wait for all, or until one has failed; say what happened."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        codes = [worker.poll() for worker in workers]
        if any(codes):
            return f"of {RANKS} processes one ended with exit code {next(code for code in codes if code)}"
        if None not in codes:
            return f"the {RANKS} processes left no result"
        time.sleep(0.02)
    return f"{RANKS} processes did not finish within {LIMIT_S:.0f} s"


def _difference(card: Card, pair: Sequence[Session]) -> str:
    """Say where two processes differ from what the pools promise, or nothing."""
    sizes = shards(card)
    if "rank" in card.pools:
        other = "one process with the whole batch"
        found = [_joined([rank[number] for rank in pair]) for number in range(len(sizes))]
        compared = list(zip(sizes, found, session(card, inputs(card)), strict=True))
    else:
        other = "a process alone"
        alone = [session(card, inputs(card, rank)) for rank in range(RANKS)]
        compared = [step for rank in range(RANKS) for step in zip(sizes, pair[rank], alone[rank], strict=True)]
    for shard, got, expected in compared:
        for name in expected:
            gap = _gap(got.get(name), expected[name])
            if gap > TOLERANCE:
                differs = f"{name} in two processes is {gap:.1e} from that of {other}"
                return f"shards of {' and '.join(map(str, shard))}: {differs}; correct the pools or forward"
    return ""


def _joined(ranks: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Make one step of the whole batch of both ranks': samples in a row, parameters' gradients summed."""
    joined: dict[str, Tensor] = {}
    for name in sorted({name for rank in ranks for name in rank}):
        first, *others = (rank[name] for rank in ranks if name in rank)  # no gradient at all counts as zero
        if name.startswith("output") or name == "gradient of x":
            joined[name] = torch.cat([first, *others])
        elif name.startswith("gradient of "):
            joined[name] = torch.stack([first, *others]).sum(0)
        else:
            # ranks that disagree count as no value at all
            joined[name] = first if all(torch.allclose(first, other) for other in others) else first * float("nan")
    return joined


def _gap(got: Tensor | None, expected: Tensor) -> float:
    if got is None or got.shape != expected.shape:
        return float("inf")
    return distance(got, expected) / max(1.0, expected.double().abs().max().item() if expected.numel() else 1.0)
