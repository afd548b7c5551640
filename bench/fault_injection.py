"""Kills a run at random moments until its plan is measured all the same, and compares it with one that was left alone.

    python bench/fault_injection.py --kills 100

Every kill is a SIGKILL, of the runner or of one of its workers, at a moment that nobody chose; after one of the runner
the same command is given again, after each end what crashed is retried. What must hold is printed with its figures:
every cell measured, none lost, none measured twice, no record that cannot be read, and metrics equal to the bit to
those of the undisturbed run. The exit code is 1 where anything does not.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from normzoo_suites import read_run

SUITE = """
name = "trainings"
question = "Does every cell survive?"
protocol = 1

[[grids]]
measure = "accuracy"
fixed = {{ dataset = "digits", model = "mlp", epochs = {epochs}, batch_size = 40, train_samples = 400 }}
[grids.axes]
normalizer = ["batch_norm", "group_norm", "batch_renorm", "layer_norm"]
ranks = [1, 5]
seed = {seeds}
"""


@dataclass
class Kills:
    """Whom it hit, and how often a runner was started."""

    runner: int = 0
    worker: int = 0
    starts: int = 0
    seconds: float = 0.0
    moments: list[float] = field(default_factory=list)

    @property
    def all(self) -> int:
        """How many."""
        return self.runner + self.worker


def main() -> int:
    """Run the trial; give its exit code."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--kills", type=int, default=100)
    asked.add_argument("--every", type=float, default=6.0, help="seconds between kills, in the mean")
    asked.add_argument("--seeds", type=int, default=25, help="more of them make a longer plan")
    asked.add_argument("--epochs", type=int, default=20)
    asked.add_argument("--seed", type=int, default=0, help="of the moments and the victims")
    told = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="fault-injection-") as name:
        folder = Path(name)
        suite = folder / "trainings.toml"
        suite.write_text(SUITE.format(epochs=told.epochs, seeds=told.seeds), encoding="utf-8")
        began = time.monotonic()
        subprocess.run(command(suite, folder / "calm"), check=True, capture_output=True)
        calm = time.monotonic() - began
        kills = disturb(suite, folder / "killed", told.kills, told.every, random.Random(told.seed))
        print(f"undisturbed: {calm:.0f} s; with {kills.runner} runners and {kills.worker} workers killed: ", end="")
        print(f"{kills.seconds:.0f} s, {kills.starts} starts")
        return 1 if compare(folder / "calm", folder / "killed") else 0


def command(suite: Path, out: Path) -> list[str]:
    """Give the command line of a run that measures what crashed once more."""
    words = [sys.executable, "-m", "normzoo_bench.cli", "run", str(suite), "--out", str(out)]
    return [*words, "--retry", "crashed", "--tries", "1"]


def disturb(suite: Path, out: Path, wanted: int, every: float, chance: random.Random) -> Kills:
    """Run until all is measured, and kill as often as wanted meanwhile, or as often as there was time for."""
    kills, began = Kills(), time.monotonic()
    while True:
        runner = subprocess.Popen(command(suite, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        kills.starts += 1
        while runner.poll() is None:
            wait = chance.expovariate(1 / every)
            with contextlib.suppress(subprocess.TimeoutExpired):
                runner.wait(wait if kills.all < wanted else None)
            if runner.poll() is None and kills.all < wanted:
                _kill(runner, chance, kills)
        if runner.returncode == 0:
            kills.seconds = time.monotonic() - began
            return kills


def _kill(runner: subprocess.Popen[bytes], chance: random.Random, kills: Kills) -> None:
    workers = _children(runner.pid)
    victim = chance.choice([runner.pid, *workers])
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
        kills.runner += victim == runner.pid
        kills.worker += victim != runner.pid
    if victim == runner.pid:
        runner.wait()


def _children(pid: int) -> list[int]:
    """Give the processes that measure: not the resource tracker's, nor the one that clears up."""
    found = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line.split()[0]) for line in found.stdout.splitlines() if "spawn_main" in line]


def compare(calm: Path, killed: Path) -> list[str]:
    """Print what holds and what does not; give what does not."""
    expected, got = read_run(calm), read_run(killed)
    measured = [cell.id for cell in expected.cells if cell.same_as is None]
    older = [file.name for file in (killed / "cells" / "older").glob("*.json")] if killed.exists() else []
    statuses = Counter(got.records[one].status for one in measured if one in got.records)
    faults = {
        "cells without a record": [one for one in measured if one not in got.records],
        "records that cannot be read": sorted(got.unreadable),
        "cells that did not end ok": [one for one, record in got.records.items() if record.status != "ok"],
        "cells with other metrics": [
            one for one in measured if one in got.records and got.records[one].metrics != expected.records[one].metrics
        ],
        "results measured twice": [name for name in older if _status(killed / "cells" / "older" / name) == "ok"],
    }
    print(f"{len(measured)} cells: {dict(statuses)}; {len(older)} attempts that crashed are kept beside")
    for what, which in faults.items():
        print(f"{what}: {len(which)} {' '.join(which[:5])}")
    return [what for what, which in faults.items() if which]


def _status(file: Path) -> str:
    from normzoo_suites import read_record

    return read_record(file.read_bytes(), file.name).status


if __name__ == "__main__":
    sys.exit(main())
