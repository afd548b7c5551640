"""`normzoo doctor` on this machine: every check finds the fault that was planted for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from collections import namedtuple
from pathlib import Path

import pynvml
import pytest

from normzoo_bench import diagnosis, environment
from normzoo_bench.diagnosis import children, disk, gpu, machine, packages
from normzoo_bench.diagnosis.finding import GB, MB, Finding, looked, size
from normzoo_bench.diagnosis.limits import Limits, limits
from normzoo_bench.request import Request

HOUSE = Path(__file__).parents[2]
Usage = namedtuple("Usage", "total used free")


def levels(findings, check=None):
    return [finding.level for finding in findings if check in (None, finding.check)]


def faults(findings):
    return [finding for finding in findings if finding.level == "fault"]


def stub(folder, name, text):
    """Put a package of this name into a folder, to be found before the real one."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(text, encoding="utf-8")
    return folder


def doctor(*words, first=None, **environment_):
    """Run the command line as its user does; ``first`` is a folder whose packages go before all others."""
    path = [str(first)] * bool(first) + [str(HOUSE), *(str(HOUSE / room) for room in ("bench", "suites", "reports"))]
    return subprocess.run(
        [sys.executable, "-m", "normzoo_bench.cli", "doctor", *words],
        capture_output=True, text=True, encoding="utf-8", timeout=120, check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)} | environment_,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("raise ImportError('libcudart.so.13: cannot open shared object file')", "libcudart.so.13"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import os; os._exit(3)", "exit code 3"),
        ("import time; raise ImportError(f'for the {time.perf_counter_ns()}th time')", "th time"),
    ],
)
def test_where_torch_cannot_be_imported_doctor_says_so_and_all_else_is_looked_at(tmp_path, text, word):
    done = doctor("quick", "--json", first=stub(tmp_path, "torch", text))
    assert (done.returncode, done.stderr) == (1, "")
    found = [Finding(**one) for one in json.loads(done.stdout)]
    (fault,) = faults(found)
    assert (fault.check, "torch" in fault.found, word in fault.found) == ("imports", True, True)
    assert "pip install" in fault.do
    assert {"run folder", "memory", "processes"} <= {one.check for one in found}
    assert "since torch cannot be imported" in found[-1].found


MISMATCH = "raise RuntimeError('operator torchvision::nms does not exist')"


def tried_with(monkeypatch, folder, names=("torchvision", "timm", "json")):
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(packages, "TRIED", names)
    return list(packages.imports({}))


def test_a_torchvision_of_another_torch_is_told_in_words_and_once(monkeypatch, tmp_path):
    stub(tmp_path, "timm", "import torchvision")  # which fails for the same reason
    found = tried_with(monkeypatch, stub(tmp_path, "torchvision", MISMATCH))
    (fault,) = faults(found)
    assert "beside torch" in fault.found
    assert "operator torchvision::nms does not exist; they may not belong together" in fault.found
    assert fault.do.endswith("pip install --force-reinstall torch torchvision")
    assert levels(found) == ["fault", "good"]


def test_what_an_import_kills_does_not_keep_the_next_from_being_tried(monkeypatch, tmp_path):
    found = tried_with(monkeypatch, stub(tmp_path, "torchvision", "import os; os.abort()"), ("torchvision", "json"))
    assert "it was killed by signal 6 (SIGABRT)" in faults(found)[0].found
    assert found[-1] == Finding("imports", "good", "json")


def test_an_import_that_never_ends_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(packages, "SECONDS", 0.5)
    found = tried_with(monkeypatch, stub(tmp_path, "torchvision", "import time; time.sleep(60)"), ("torchvision",))
    assert "it did not answer in 0.5 s" in faults(found)[0].found


def test_what_an_import_prints_does_not_come_between_the_answers(monkeypatch, tmp_path):
    found = tried_with(monkeypatch, stub(tmp_path, "torchvision", "print('{hello')"), ("torchvision",))
    assert levels(found) == ["good"]


def versions(monkeypatch, **installed):
    real = packages._version
    monkeypatch.setattr(packages, "_version", lambda name: installed.get(name, real(name)))
    return list(packages.versions())


def required(monkeypatch, **lists):
    monkeypatch.setattr(packages.metadata, "requires", lambda name: lists.get(name, []))


def test_a_package_below_the_bound_that_normzoo_states_is_a_fault_that_names_both(monkeypatch):
    required(monkeypatch, normzoo=["torch>=2.11", "ray>=2.40; extra == 'cluster'"])
    (fault,) = faults(versions(monkeypatch, torch="2.9.1+cpu"))
    assert fault.found == "torch 2.9.1+cpu is installed, and normzoo needs torch>=2.11"
    assert fault.do == "pip install 'torch>=2.11'"
    assert not faults(versions(monkeypatch, torch="2.11.0+cu130"))


def test_a_package_that_is_not_there_is_a_fault_and_one_of_an_extra_is_none(monkeypatch):
    required(monkeypatch, normzoo=["pebble>=5.1", "ray>=2.40; extra == 'cluster'"])
    (fault,) = faults(versions(monkeypatch, pebble=""))
    assert fault.found == "pebble is not installed, and normzoo needs pebble>=5.1"


def test_a_torch_that_torchvision_was_not_made_for_is_a_fault_before_anything_is_imported(monkeypatch):
    required(monkeypatch, torchvision=["numpy", "torch (==2.12.0)"])
    (fault,) = faults(versions(monkeypatch, torch="2.15.0", torchvision="0.27.0"))
    assert fault.found == "torch 2.15.0 is installed, and torchvision 0.27.0 needs torch==2.12.0"
    assert "in one command" in fault.do


def test_a_python_below_the_bound_is_a_fault():
    assert levels(packages._python("3.10.4", ">=3.11")) == ["fault"]
    assert levels(packages._python("3.14.0rc1", ">=3.11")) == ["good"]


def test_optional_packages_are_told_apart_and_never_a_fault(monkeypatch):
    monkeypatch.setattr(packages, "_version", {"ray": "2.50", "wandb": "", "mlflow": "", "tensorboard": ""}.get)
    (found,) = packages.optional()
    assert (found.level, found.found) == ("good", "ray 2.50; not there: tensorboard, mlflow, wandb")


def test_a_check_that_raises_is_a_finding_and_no_traceback():
    def look():
        yield Finding("x", "good", "so far")
        raise OSError("the disk\nis gone")

    assert [one.found for one in looked("x", look)] == ["so far", "could not be checked: OSError: the disk is gone"]


# ---------------------------------------------------------------------------------------------------------------- GPU


def seen(**changes):
    device = {"name": "H100", "uuid": "aa", "error": ""}
    usual = {"torch": "2.15", "cuda": "13.0", "hip": "", "available": True, "warned": [], "triton": True}
    return usual | {"devices": [device], "error": ""} | changes


def card(free=70 * GB, others=0, uuid="GPU-aa"):
    return gpu.Card("H100", uuid, free, 80 * GB, others)


DRIVER = gpu.Driver("580.1", "13.0", (card(),))


def told(seen_, driver=DRIVER, wanted=False, on_bus=False):
    return list(gpu.find(seen_, driver, wanted, on_bus))


def test_a_gpu_that_is_free_and_computes_is_good():
    assert set(levels(told(seen()))) == {"good"}


@pytest.mark.parametrize(
    ("seen_", "driver", "words"),
    [
        (seen(available=False, cuda=""), DRIVER, "was built without CUDA"),
        (seen(available=False), gpu.Driver("535.1", "12.2", (card(),)), "535.1 knows CUDA up to 12.2, and torch"),
        (seen(available=False, warned=["CUDA unknown error"]), DRIVER, "cannot use it: CUDA unknown error"),
        (seen(error="RuntimeError: no"), DRIVER, "torch cannot be asked for GPUs: RuntimeError: no"),
        (seen(devices=[{"name": "H100", "uuid": "", "error": "no kernel image"}]), DRIVER, "no kernel image"),
        (seen(), gpu.Driver("580.1", "13.0", (card(free=GB // 4),)), "250 MB of 80.0 GB are free"),
        (seen(triton=False), DRIVER, "triton is not installed"),
    ],
)
def test_what_keeps_a_gpu_from_being_used_is_a_fault_where_one_is_wanted_and_else_a_warning(
    seen_, driver, words, monkeypatch
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for wanted, level in ((True, "fault"), (False, "warning")):
        (bad,) = (one for one in told(seen_, driver, wanted) if one.level != "good")
        assert (bad.level, words in bad.found, bool(bad.do)) == (level, True, True)


def test_a_gpu_that_the_environment_hides_is_told_with_the_variable(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES='' hides it" in told(seen(available=False))[0].found


def test_a_gpu_without_a_driver_is_seen_on_the_bus(tmp_path):
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "vendor").write_text("0x10de\n", encoding="ascii")
    (tmp_path / "0000:01:00.0" / "class").write_text("0x030200\n", encoding="ascii")
    assert gpu.built_in(tmp_path)
    silent = gpu.Driver(silent="Driver Not Loaded")
    (found,) = told(seen(available=False), silent, on_bus=True)
    assert (found.level, "Driver Not Loaded" in found.found) == ("warning", True)
    (tmp_path / "0000:01:00.0" / "class").write_text("0x040300\n", encoding="ascii")  # a graphics card's sound
    assert not gpu.built_in(tmp_path)


def test_no_gpu_is_a_fault_only_where_one_is_wanted():
    none = gpu.Driver(silent="NVML Shared Library Not Found")
    assert levels(told(seen(available=False, cuda="13.0"), none)) == ["good"]
    assert levels(told(seen(available=False, cuda="13.0"), none, wanted=True)) == ["fault"]


def test_other_processes_and_little_memory_on_a_gpu_are_warnings_of_the_gpu_that_torch_sees_alone():
    busy = gpu.Driver("580.1", "13.0", (card(free=GB, others=2), card(free=0, others=9, uuid="GPU-bb")))
    warnings = [one.found for one in told(seen(), busy, wanted=True) if one.level == "warning"]
    assert warnings == ["H100: 1.0 GB of 80.0 GB are free", "2 other processes on H100: times would not be comparable"]
    assert not faults(told(seen(), busy, wanted=True))


def test_the_driver_is_read_by_nvml(monkeypatch):
    def refused(handle):
        raise pynvml.NVMLError_NotSupported

    fake = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetCudaDriverVersion": lambda: 12020,
        "nvmlSystemGetDriverVersion": lambda: "535.1",
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda number: number,
        "nvmlDeviceGetName": lambda handle: "H100",
        "nvmlDeviceGetUUID": lambda handle: "GPU-aa",
        "nvmlDeviceGetMemoryInfo": lambda handle: types.SimpleNamespace(free=GB, total=80 * GB),
        "nvmlDeviceGetComputeRunningProcesses": refused,
    }
    for name, function in fake.items():
        monkeypatch.setattr(pynvml, name, function)
    assert gpu.driver() == gpu.Driver("535.1", "12.2", (card(free=GB),))


def test_a_driver_that_is_not_there_is_silent_and_no_error(monkeypatch):
    def absent():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)

    monkeypatch.setattr(pynvml, "nvmlInit", absent)
    assert gpu.driver() == gpu.Driver(silent="Driver Not Loaded")


# --------------------------------------------------------------------------------------------------------------- disk


@pytest.mark.parametrize(("free", "level"), [(99 * MB, "fault"), (999 * MB, "warning"), (GB, "good")])
def test_little_space_is_a_warning_and_next_to_none_a_fault(monkeypatch, tmp_path, free, level):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda where: Usage(GB, 0, free))
    assert levels(disk.space("run folder", tmp_path, "choose"))[0] == level


def test_few_files_left_are_a_warning(monkeypatch, tmp_path):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda where: Usage(GB, 0, GB))
    monkeypatch.setattr(disk.os, "statvfs", lambda where: types.SimpleNamespace(f_files=10**6, f_favail=50))
    assert [one.level for one in disk.space("x", tmp_path, "choose") if "50 files more" in one.found] == ["warning"]


@pytest.fixture
def read_only(tmp_path: Path):
    """A folder that this process cannot write to, whoever runs it."""
    above = [folder for folder in tmp_path.parents if folder.name.startswith(("pytest-", "popen-"))]
    modes = {folder: folder.stat().st_mode for folder in (tmp_path, *above)}
    for folder in modes:
        folder.chmod(0o555 if folder == tmp_path else 0o755)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # nobody, for whom modes count
    yield tmp_path
    os.seteuid(user)
    for folder, mode in modes.items():
        folder.chmod(mode)


def test_a_read_only_folder_is_a_fault(read_only):
    (fault,) = faults(disk.run_folder(read_only / "runs" / "mine"))
    assert "Permission denied" in fault.found
    assert "--out" in fault.do
    assert faults(disk.other_folder("temporary files", read_only, "set TMPDIR"))[0].do == "set TMPDIR"


def test_a_file_in_the_place_of_a_folder_is_a_fault(tmp_path):
    (tmp_path / "runs").write_text("", encoding="utf-8")
    assert levels(disk.run_folder(tmp_path / "runs" / "mine"))[-1] == "fault"


def test_a_file_system_that_cannot_lock_is_a_fault(monkeypatch, tmp_path):
    def refused(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    assert "No locks available" in faults(disk.run_folder(tmp_path))[0].found


def test_a_file_system_whose_locks_do_not_hold_is_a_fault(monkeypatch, tmp_path):
    monkeypatch.setattr("filelock.FileLock.acquire", lambda *_, **__: None)
    assert "locks do not hold" in faults(disk.run_folder(tmp_path))[0].found


def test_a_file_system_that_cannot_rename_onto_a_file_is_a_fault(monkeypatch, tmp_path):
    def refused(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(Path, "replace", refused)
    assert "Operation not supported" in faults(disk.run_folder(tmp_path))[0].found


def test_a_folder_that_was_tried_is_as_it_was_before(tmp_path):
    assert not faults(disk.run_folder(tmp_path / "runs" / "mine"))
    assert not faults(disk.other_folder("temporary files", tmp_path, ""))
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------------ machine


@pytest.mark.parametrize(("free_kb", "level"), [(500_000, "fault"), (2_000_000, "warning"), (9_000_000, "good")])
def test_memory_is_held_against_a_worker_and_a_worker_per_core(monkeypatch, tmp_path, free_kb, level):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal:  64000000 kB\nMemAvailable: {free_kb} kB\nHugePages_Total: 0\n", encoding="ascii")
    (found,) = machine.memory(Limits(), meminfo)
    assert found.level == level
    assert (found.do == "run with --jobs 3") == (level == "warning")


def test_a_containers_memory_limit_counts_where_it_is_the_tighter_one(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemAvailable: 9000000 kB\n", encoding="ascii")
    (found,) = machine.memory(Limits(memory=300 * MB), meminfo)
    assert (found.level, "by this container's limit" in found.found) == ("fault", True)


def test_a_quota_below_the_cores_is_a_warning_with_the_jobs_that_fit(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 16)
    (found,) = machine.processors(Limits(cores=2.5))
    assert (found.level, "--jobs 2;" in found.do) == ("warning", True)
    assert levels(machine.processors(Limits(cores=16.0))) == levels(machine.processors(Limits())) == ["good"]


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="ascii")


def test_limits_of_both_versions_are_read_from_the_group_and_those_above(tmp_path):
    root, own = tmp_path / "cgroup", tmp_path / "own"
    write(own, "4:memory:/box\n1:cpu,cpuacct:/box/inner\n0::/job/step\n")
    write(root / "job" / "step" / "cpu.max", "max 100000\n")
    write(root / "job" / "cpu.max", "350000 100000\n")
    write(root / "job" / "memory.max", "1000\n")
    write(root / "job" / "memory.current", "900\n")
    write(root / "job" / "memory.stat", "anon 500\ninactive_file 150\n")
    assert limits(own, root) == Limits(3.5, 250)
    write(root / "cpu" / "box" / "cpu.cfs_quota_us", "50000\n")
    write(root / "cpu" / "box" / "cpu.cfs_period_us", "100000\n")
    write(root / "memory" / "box" / "memory.limit_in_bytes", "200\n")
    write(root / "memory" / "box" / "memory.usage_in_bytes", "190\n")
    assert limits(own, root) == Limits(0.5, 10)


def test_no_limit_is_told_in_each_version_of_control_groups(tmp_path):
    root, own = tmp_path / "cgroup", tmp_path / "own"
    write(own, "4:memory:/\n1:cpu:/\n0::/\n")
    write(root / "cpu.max", "max 100000\n")
    write(root / "memory.max", "max\n")
    write(root / "memory.current", "5\n")
    write(root / "cpu" / "cpu.cfs_quota_us", "-1\n")
    write(root / "cpu" / "cpu.cfs_period_us", "100000\n")
    write(root / "memory" / "memory.limit_in_bytes", "9223372036854771712\n")
    write(root / "memory" / "memory.usage_in_bytes", "5\n")
    assert limits(own, root) == limits(tmp_path / "nowhere", root) == Limits()


@pytest.mark.parametrize(("free", "level"), [(0, "fault"), (64 * MB, "warning"), (GB, "good")])
def test_the_small_shared_memory_of_containers_is_a_warning(monkeypatch, tmp_path, free, level):
    monkeypatch.setattr(machine.sys, "platform", "linux")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda where: Usage(GB, 0, free))
    assert levels(machine.shared_memory(tmp_path)) == [level]
    assert levels(machine.shared_memory(tmp_path / "nowhere")) == ["fault"]


@pytest.mark.parametrize(("most", "level"), [(64, "fault"), (256, "warning"), (4096, "good"), (-1, "good")])
def test_a_low_limit_of_open_files_is_told_with_the_command_that_raises_it(monkeypatch, most, level):
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (most, -1))
    (found,) = machine.open_files()
    assert (found.level, found.do == "ulimit -n 1024") == (level, level != "good")


def test_a_process_that_cannot_spawn_another_is_a_fault(monkeypatch, tmp_path):
    """As where a container has no semaphores."""
    assert levels(machine.processes()) == ["good"]
    text = "def get_context(_):\n    raise OSError(38, 'Function not implemented')"
    monkeypatch.syspath_prepend(str(stub(tmp_path, "multiprocessing", text)))
    assert "Function not implemented" in faults(machine.processes())[0].found


# ------------------------------------------------------------------------------------------------------- all together


@pytest.fixture
def nothing_imported(monkeypatch):
    """Without the imports, which take seconds."""
    monkeypatch.setattr(packages, "TRIED", ("json",))


@pytest.mark.usefixtures("nothing_imported")
def test_a_check_that_is_broken_leaves_all_others_alone(monkeypatch, tmp_path):
    def broken(*_, **__):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(diagnosis.tempfile, "gettempdir", broken)
    monkeypatch.setattr(children.subprocess, "Popen", broken)
    found = diagnosis.diagnose(Request(""), tmp_path / "run")
    broken_ones = {one.check for one in found if one.found == "could not be checked: ZeroDivisionError: ours"}
    assert broken_ones == {"imports", "temporary files", "processes"}
    assert {"run folder", "memory", "open files"} <= {one.check for one in found if one.level == "good"}


@pytest.mark.parametrize(("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (25.6e6, "25.6 MB"), (5e12, "5.0 TB")])
def test_sizes_are_told_in_words(count, text):
    assert size(count) == text


def test_the_cores_are_those_that_records_tell():
    assert machine.cores is environment.cores
