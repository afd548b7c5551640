"""Running: records, resuming, and cells that die, hang, raise or diverge."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import normzoo_bench
from normzoo_bench import commands
from normzoo_bench.running.runner import run_plan
from normzoo_bench.running.store import Store
from normzoo_suites import SuiteError, read_run


@pytest.fixture(scope="module")
def ran(tiny, tmp_path_factory):
    """One real run in worker processes, and what it gave back."""
    return normzoo_bench.run(tiny, out=tmp_path_factory.mktemp("runs") / "tiny", jobs=2)


def files(folder):
    return {file.name: file.stat().st_mtime_ns for file in (folder / "cells").glob("*.json")}


def test_every_cell_has_one_record_and_those_that_are_the_same_share_it(ran):
    run = read_run(ran.folder)
    measured = [cell for cell in run.cells if cell.same_as is None]
    assert len(run.cells) == 13
    assert len(files(ran.folder)) == len(measured) == ran.measured == 11
    assert set(run.records) == {cell.id for cell in run.cells}
    assert all(record.status == "ok" for record in run.records.values())
    assert ran.exit_code == 0


def test_a_record_holds_settings_card_environment_and_no_path_of_this_machine(ran):
    file = next(file for file in (ran.folder / "cells").glob("*.json"))
    text = file.read_text(encoding="utf-8")
    record = json.loads(text)
    assert record["id"] == file.stem
    assert record["suite"] == "tiny"
    assert {"normalizer", "device"} <= record["settings"].keys()
    assert {"torch", "cpu", "threads", "commit", "dirty"} <= record["environment"].keys()
    assert len(record["source_hash"]) == 12
    for word in (str(ran.folder.parent), f"{Path.home()}/", os.uname().nodename):
        assert word not in text


def test_a_run_in_workers_measures_what_the_measure_itself_gives(ran, digits):
    from normzoo_bench import accuracy

    run = read_run(ran.folder)
    cell = next(cell for cell in run.cells if cell.settings.normalizer == "batch_norm" and cell.settings.ranks == 5)
    assert run.records[cell.id].metrics == accuracy.measure(cell.settings, digits).metrics


def test_running_again_measures_nothing_and_touches_no_record(tiny, ran):
    before = files(ran.folder)
    again = normzoo_bench.run(tiny, out=ran.folder)
    assert again.measured == 0
    assert again.resumed == ran.measured
    assert files(ran.folder) == before


def test_what_is_done_is_what_this_source_and_this_data_gave(tiny, ran, monkeypatch):
    plan = commands.plan(tiny)
    store = Store(ran.folder)
    assert len(store.finished(plan, frozenset())[0]) == 11
    monkeypatch.setattr("normzoo_bench.running.store.source_hash", lambda cell: "another")
    assert not store.finished(plan, frozenset())[0]
    monkeypatch.undo()
    monkeypatch.setattr("normzoo_bench.running.store.data_fingerprint", lambda plan, cell: "another")
    assert not store.finished(plan, frozenset())[0]


def test_status_counts_what_is_done_and_what_is_not(tiny, ran):
    status = normzoo_bench.status(ran.folder)
    assert status.statuses == {"ok": 11, "same": 2}
    assert status.to_do == 0
    assert "normzoo run" in status.command


def test_a_folder_of_another_suite_is_not_overwritten(ran):
    with pytest.raises(SuiteError, match="holds a run of the suite tiny; choose another folder"):
        normzoo_bench.run("quick", out=ran.folder, seeds=1)


def test_a_damaged_record_is_named_and_measured_again(tiny, ran, capsys):
    victim = sorted((ran.folder / "cells").glob("*.json"))[0]
    whole = json.loads(victim.read_text(encoding="utf-8"))
    victim.write_text(victim.read_text(encoding="utf-8")[:100], encoding="utf-8")
    assert victim.name in normzoo_bench.status(ran.folder).unreadable
    again = normzoo_bench.run(tiny, out=ran.folder)
    assert again.measured == 1
    assert victim.name in again.unreadable
    assert f"{victim.name} is measured again" in capsys.readouterr().err
    repaired = json.loads(victim.read_text(encoding="utf-8"))
    if whole["measure"] == "accuracy":
        assert repaired["metrics"] == whole["metrics"]


def test_the_command_in_a_record_measures_the_same_numbers_again(tiny, ran, tmp_path, monkeypatch):
    run = read_run(ran.folder)
    record = next(record for record in run.records.values() if record.measure == "accuracy")
    words = record.command.replace("PATH_TO/tiny.toml", tiny).split()
    assert words[:2] == ["normzoo", "run"]
    done = subprocess.run(
        [sys.executable, "-m", "normzoo_bench.cli", *words[1:], "--out", str(tmp_path / "again")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    again = read_run(tmp_path / "again").records
    assert list(again) == [record.id]
    assert again[record.id].metrics == record.metrics


BAD = """
import ctypes, os, signal, subprocess, sys, time
import normzoo, torch
from normzoo.norms import NoNorm

def bad(name, act):
    @normzoo.register(name, paper="none", year=None, pools=set())
    class Bad(NoNorm):
        def forward(self, x):
            if self.training:
                act()
            return super().forward(x)
    return Bad

def raise_error():
    raise KeyError("no such thing")

def out_of_memory():
    torch.empty(2**50)

Dies = bad("dies", lambda: os.kill(os.getpid(), signal.SIGKILL))
Exits = bad("exits", lambda: os._exit(7))
Hangs = bad("hangs", lambda: time.sleep(600))
Raises = bad("raises", raise_error)
Hungry = bad("hungry", out_of_memory)
def leave():
    raise SystemExit(0)

Leaves = bad("leaves", leave)
Talks = bad("talks", lambda: print("x" * 1_000_000 + " the end"))
Warns = bad("warns", lambda: print("it is odd", file=sys.stderr))
Segfaults = bad("segfaults", lambda: ctypes.string_at(0))
Holds = bad("holds", lambda: ctypes.PyDLL(None).sleep(600))  # and never gives the interpreter back

def start_a_child():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(601)", "normzoo-orphan"])
    time.sleep(600)

Forks = bad("forks", start_a_child)

def leave_a_daemon():
    subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(603)", "normzoo-orphan"], start_new_session=True
    )
    time.sleep(600)

Daemon = bad("leaves_a_daemon", leave_a_daemon)

def fork():
    if os.fork() == 0:
        time.sleep(0.2)
        raise SystemExit(0)  # goes up to the worker, which is two by now

Doubles = bad("doubles", fork)

def clear_temporary_files():
    log = os.readlink("/proc/self/fd/1")
    if os.path.exists(log):
        os.remove(log)

Clears = bad("clears", clear_temporary_files)

class Odd:
    def __str__(self):
        raise RuntimeError("no text")
    def __reduce__(self):
        return os._exit, (9,)

@normzoo.register("odd_options", paper="none", year=None, pools=set())
class OddOptions(NoNorm):
    def __init__(self, num_features: int, *, knob: int = 1, other: int = 2, itself: int = 3):
        super().__init__(num_features)
        self.knob, self.other, self.itself = 10**5000, Odd(), []
        self.itself.append(self.itself)

def hang_up():
    os.closerange(3, 1024)
    time.sleep(600)

HangsUp = bad("hangs_up", hang_up)

@normzoo.register("explodes", paper="none", year=None, pools=set())
class Explodes(NoNorm):
    def forward(self, x):
        return super().forward(x) * float("inf")
"""


HOW = [
    "dies", "exits", "hangs", "raises", "hungry", "leaves", "talks", "warns", "segfaults", "holds", "forks", "hangs_up",
    "leaves_a_daemon", "doubles", "clears", "odd_options",
]  # fmt: skip


@pytest.fixture(scope="module")
def faults(tiny, tmp_path_factory):
    """One run of normalizers that each fail in their own way, among good ones."""
    folder = tmp_path_factory.mktemp("faults")
    plugin = folder / "bad.py"
    plugin.write_text(BAD, encoding="utf-8")
    suite = folder / "trainings.toml"
    whole = Path(tiny).read_text(encoding="utf-8")
    suite.write_text(whole[: whole.rindex("[[grids]]")], encoding="utf-8")  # without what is timed
    result = normzoo_bench.run(
        suite,
        out=folder / "run",
        load=[str(plugin)],
        normalizers=[*HOW, "explodes", "batch_norm"],
        settings={"ranks": "1"},
        seeds=1,
        timeout=25,
        jobs=2,
    )
    run = read_run(result.folder)
    return result, {r.settings["normalizer"]: r for r in run.records.values() if r.measure == "accuracy"}


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("dies", "crashed", "its worker died (signal 9)"),
        ("exits", "crashed", "its worker died (exit code 7)"),
        ("hangs", "timeout", "killed after 25 s"),
        ("raises", "error", "KeyError: 'no such thing' (bad.py, line"),
        ("hungry", "oom", "DefaultCPUAllocator"),
        ("leaves", "error", "SystemExit: 0 (bad.py, line"),
        ("explodes", "diverged", "not finite in epoch 1"),
        ("talks", "ok", ""),
        ("warns", "ok", ""),
        ("segfaults", "crashed", "its worker died (signal 11), in each of 2 tries"),
        ("holds", "timeout", "killed after 25 s"),
        ("forks", "timeout", "killed after 25 s"),
        ("hangs_up", "crashed", "its worker hung up"),
        ("leaves_a_daemon", "timeout", "killed after 25 s"),
        ("doubles", "ok", ""),
        ("clears", "ok", ""),
        ("odd_options", "ok", ""),
        ("batch_norm", "ok", ""),
    ],
)
@pytest.mark.slow
def test_whatever_a_normalizer_does_its_cell_says_it_and_the_others_run(faults, name, status, reason):
    _, records = faults
    assert records[name].status == status
    assert reason in records[name].reason


@pytest.mark.slow
def test_what_a_normalizer_forks_tells_no_cell_another_result(faults):
    _, records = faults
    assert records["doubles"].metrics == records["clears"].metrics == records["talks"].metrics
    options = records["odd_options"].card["options"]
    assert (options["knob"], options["other"]) == ("<int>", "<Odd>")
    assert "[...]" in str(options["itself"])


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("talks", "xx the end"),
        ("warns", "it is odd"),
        ("segfaults", "Fatal Python error: Segmentation fault"),
        ("segfaults", "bad.py"),
        ("holds", "bad.py"),
        ("hangs", "in <lambda>"),
        ("batch_norm", ""),
    ],
)
@pytest.mark.slow
def test_a_record_keeps_the_end_of_what_its_worker_printed_and_no_path(faults, name, end):
    folder, records = faults[0].folder, faults[1]
    assert end in records[name].log
    assert bool(records[name].log) == bool(end)
    assert len(records[name].log) <= 4000
    assert str(folder.parent) not in records[name].log


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")
def test_what_a_killed_cell_has_started_is_killed_with_it(faults):
    commands_of_all = [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if file.exists()]
    assert not [words for words in commands_of_all if b"normzoo-orphan" in words]


@pytest.mark.slow
def test_a_run_with_faults_exits_with_1_and_its_report_shows_them(faults):
    from normzoo_reports import report

    result, _ = faults
    assert result.exit_code == 1
    page = report(result.folder).read_text(encoding="utf-8")
    assert "its worker died (signal 9)" in page
    assert "killed after 25 s" in page


def start(tiny, out):
    words = [sys.executable, "-m", "normzoo_bench.cli", "run", tiny, "--out", str(out), "--jobs", "2"]
    words += ["--set", "epochs=20", "--set", "train_samples=all"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_records(out, count, process):
    deadline = time.monotonic() + 90
    while len(list((out / "cells").glob("*.json"))) < count:
        assert time.monotonic() < deadline, "no records in time"
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)


def children(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")
def test_a_run_that_is_killed_loses_no_record_leaves_no_worker_and_is_completed_by_the_next(tiny, tmp_path):
    out = tmp_path / "run"
    with start(tiny, out) as process:
        wait_for_records(out, 2, process)
        workers = children(process.pid)
        process.send_signal(signal.SIGKILL)
    kept = files(out)
    assert workers
    deadline = time.monotonic() + 10
    while any(alive(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(worker) for worker in workers)
    assert files(out) == kept  # nothing was written afterwards
    second = normzoo_bench.run(tiny, out=out, settings={"epochs": "20", "train_samples": "all"})
    assert second.resumed == len(kept)
    assert second.measured + second.resumed == 11
    assert not (out / "cells" / "older").exists()  # nothing was measured twice


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")
def test_a_worker_that_dies_before_it_has_a_cell_costs_no_cell(tiny, tmp_path):
    out = tmp_path / "run"
    with start(tiny, out) as process:
        deadline = time.monotonic() + 60
        while not (workers := children(process.pid)) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(workers[-1], signal.SIGKILL)  # it is still importing torch
        process.communicate(timeout=120)
    assert process.returncode == 0
    assert {record.status for record in read_run(out).records.values()} == {"ok"}


@pytest.mark.slow
def test_ctrl_c_ends_within_seconds_keeps_what_is_done_and_says_how_to_go_on(tiny, tmp_path):
    out = tmp_path / "run"
    with start(tiny, out) as process:
        wait_for_records(out, 1, process)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, stderr = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert process.returncode == 130
    assert "the same command goes on from there" in stderr
    assert "Traceback" not in stderr
    assert read_run(out).records


IMPORTS = """
import sys
import normzoo
from normzoo_bench.running import worker
from normzoo_suites import Cell
from normzoo_suites.settings import AccuracySettings
had = []
attempt = worker._attempt
worker._attempt = lambda *job: (had.append(set(sys.modules)), attempt(*job))[1]
settings = AccuracySettings(normalizer="batch_norm", dataset="digits", model="mlp", epochs=1, batch_size=40)
job = (Cell("accuracy", 1, settings),), "digits", normzoo.card("batch_norm").source_hash
print(worker.run_job(*job)[0].status, *sorted(set(sys.modules) - had[0]))
"""


def test_a_cells_time_has_no_imports_in_it():
    """The first cell of a worker would take seconds longer than the others, and estimates with it."""
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    status, *modules = done.stdout.split()
    assert status == "ok"
    assert len(modules) < 20
    assert not {"torch", "timm", "torchvision", "datasets"} & {name.partition(".")[0] for name in modules}


def test_two_normalizers_of_one_file_do_not_share_a_process(tiny, tmp_path):
    plugin = tmp_path / "pair.py"
    plugin.write_text(
        "import normzoo, torch\nfrom normzoo.norms import NoNorm\n"
        "def named(name):\n"
        "    @normzoo.register(name, paper='none', year=None, pools=set())\n"
        "    class Named(NoNorm):\n"
        "        def forward(self, x):\n"
        "            NoNorm.times = getattr(NoNorm, 'times', 0) + (name == 'first')\n"
        "            return super().forward(x) * (1 if name == 'first' else 0.5 ** (NoNorm.times > 0))\n"
        "    return Named\n"
        "First, Second = named('first'), named('second')\n",
        encoding="utf-8",
    )
    asked = {"settings": {"ranks": "1"}, "seeds": 1, "load": [str(plugin)]}

    def accuracy_of_second(out, names):
        run = read_run(normzoo_bench.run(tiny, out=out, normalizers=names, **asked).folder)
        return next(r.metrics for r in run.records.values() if r.settings["normalizer"] == "second" and r.series)

    alone = accuracy_of_second(tmp_path / "alone", ["second"])
    assert accuracy_of_second(tmp_path / "both", ["first", "second"]) == alone


def test_a_file_that_changes_during_the_run_is_not_recorded_as_what_it_was(tiny, tmp_path, monkeypatch):
    plugin = tmp_path / "changing.py"
    text = (
        "import normzoo\nfrom normzoo.norms import NoNorm\n"
        "@normzoo.register('changing', paper='none', year=None, pools=set())\nclass Changing(NoNorm):\n    pass\n"
    )
    plugin.write_text(text, encoding="utf-8")
    made = commands.plan(tiny, normalizers=["changing"], settings={"ranks": "1"}, seeds=1, load=[str(plugin)])
    plugin.write_text(text + "# another\n", encoding="utf-8")  # after the plan, before the workers
    result = run_plan(made, tmp_path / "run")
    assert result.statuses == {"error": 2}
    assert all("was changed during the run" in r.reason for r in read_run(tmp_path / "run").records.values())


def test_a_record_whose_settings_were_edited_by_hand_does_not_count(tiny, ran):
    victim = next(file for file in (ran.folder / "cells").glob("*.json") if "batch_norm" in file.read_text())
    record = json.loads(victim.read_text(encoding="utf-8"))
    record["settings"]["epochs" if record["measure"] == "accuracy" else "threads"] = 7
    victim.write_text(json.dumps(record), encoding="utf-8")
    assert victim.stem not in Store(ran.folder).finished(commands.plan(tiny), frozenset())[0]
    assert normzoo_bench.run(tiny, out=ran.folder).measured == 1
