"""A cell that runs out of memory: a result that says what was asked for, and nothing to the cells after it."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

import normzoo
from normzoo_bench.running.worker import memory_asked, out_of_memory, run_job
from normzoo_suites import Cell
from normzoo_suites.settings import ThroughputSettings

ON_CUDA = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15.77 GiB of which 1.12 GiB is free."
)
ON_CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: you tried to allocate 99 bytes."


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr("normzoo_bench.timing.pairs.PAIRS", (5, 5))
    monkeypatch.setattr("normzoo_bench.timing.pairs.WARM_UP_S", (0.0, 0.01))
    monkeypatch.setattr("normzoo_bench.timing.pairs.SAMPLE_MS", 0.1)
    monkeypatch.setattr("normzoo_bench.speed.limit.COPIED", 2**16)


def run(**changes):
    settings = {"normalizer": "group_norm", "shape": "8x4x4", "batch_size": 4} | changes
    cell = Cell("throughput", 1, ThroughputSettings.model_validate(settings))
    return run_job((cell,), "", normzoo.card(settings["normalizer"]).source_hash)[0]


def test_a_layer_that_no_machine_holds_is_told_with_its_bytes_and_the_next_cell_runs():
    outcome = run(shape="999999x99999", batch_size=4096)
    assert outcome.status == "oom"
    assert f"you tried to allocate {4096 * 999999 * 99999 * 4} bytes" in outcome.reason
    assert run().status == "ok"


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (torch.OutOfMemoryError(ON_CUDA), ON_CUDA),
        (torch.OutOfMemoryError(ON_CUDA + "\nException raised from malloc"), ON_CUDA),
        (RuntimeError(ON_CPU + "\nframe #0"), ON_CPU),
        (RuntimeError(f"backend='inductor' raised:\nOutOfMemoryError: {ON_CUDA}\n"), f"OutOfMemoryError: {ON_CUDA}"),
        (RuntimeError("CUDA error: out of memory\nfor debugging"), "CUDA error: out of memory"),
        (MemoryError("Unable to allocate 2.00 GiB for an array"), "Unable to allocate 2.00 GiB for an array"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_running_out_of_memory_is_known_by_type_or_words_and_told_by_the_line_with_the_bytes(error, asked):
    assert out_of_memory(error)
    assert memory_asked(error) == asked


def test_another_error_of_cuda_is_none_of_memory():
    assert not out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


def test_what_a_cell_leaves_of_a_gpu_is_given_back(monkeypatch):
    emptied = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(1))
    assert run().status == "ok"
    assert emptied


def test_what_a_cell_held_when_memory_ran_out_is_freed():
    held = []

    @normzoo.register("holds_on", paper="none", year=None, pools=set())
    class HoldsOn(normzoo.card("none").factory):
        def forward(self, x):
            block = torch.ones(4)
            block.itself = [block]  # a cycle, as graphs have them: only the collector frees it
            held.append(weakref.ref(block))
            raise torch.OutOfMemoryError(ON_CUDA)

    gc.disable()
    try:
        assert run(normalizer="holds_on").status == "oom"
        assert [one() for one in held] == [None]
    finally:
        gc.enable()
