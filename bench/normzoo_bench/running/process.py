"""A process that measures: what it does first, how it is served jobs, and when it ends."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from normzoo_bench import tracking
from normzoo_bench.running import log, reaper
from normzoo_bench.running.worker import Job, Outcome, describe, import_first, plainly, run_job

WANTED = "wanted"
"""By its file of this name a folder says that those who work for it are to go on."""

LOG = "log"  # a worker's file of this name in its folder


@dataclass(frozen=True)
class Asked:
    """What a worker is started with.

    Attributes:
        parent: the process that it ends with.
        folder: its own, at the run's workplace.
        load: Python files with normalizers.
        gpu: the only GPU that it sees, as ``CUDA_VISIBLE_DEVICES`` spells it; None for all.
        spool: where it tells of its trainings' epochs.

    """

    parent: int
    folder: Path
    load: tuple[str, ...] = ()
    gpu: str | None = None
    spool: tracking.Spool = tracking.NOWHERE


Work = tuple[Job, str, str, str]
"""A job, where its data is loaded from, its normalizer's source as a hash, and its data's fingerprint, as planned."""


def serve(pipe: Connection[list[Outcome] | None, Work], asked: Asked) -> None:
    """Measure job after job until the other end is closed."""
    os.setsid()  # a group of its own, which can be ended with all that it will have started
    os.environ[reaper.GROUP] = str(asked.folder)
    if asked.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = asked.gpu
    log.redirect(asked.folder / LOG)
    _die_first()
    # a crash, and the signal that goes before a timeout's end, leave in the log where it was
    faulthandler.enable(all_threads=False)
    faulthandler.register(signal.SIGUSR1, all_threads=False)
    prepare(asked.parent, asked.load)
    pipe.send(None)
    with contextlib.suppress(EOFError, KeyboardInterrupt), tracking.spooling(asked.spool):
        own = os.getpid()
        while True:
            work = pipe.recv()
            import_first(work[0])
            pipe.send(None)  # from here on the time counts
            ended = run_job(*work)
            if os.getpid() != own:  # a normalizer has forked, and this is the other one: it has nothing to tell
                os._exit(1)
            _answer(pipe, ended)


def _answer(pipe: Connection[list[Outcome] | None, Work], ended: Sequence[Outcome]) -> None:
    try:
        pipe.send([plainly(one) for one in ended])
    except Exception as error:  # an object of a plugin that cannot be sent
        bare = Outcome("error", describe(error), type(ended[0].result)({}), ended[0].environment, ended[0].seconds)
        pipe.send([bare] * len(ended))


def prepare(parent: int, load: Sequence[str], folder: Path | None = None) -> None:
    """Prepare a process that measures: one thread, the plugins, and an end when its parent has died.

    With a ``folder`` it is one of several that work together: it ends when the file ``WANTED`` there is gone, too, and
    removes the folder when its parent is.
    """
    threading.Thread(target=_end_with, args=(parent, folder), daemon=True).start()
    if folder is not None and reaper.GROUP in os.environ:
        reaper.register(Path(os.environ[reaper.GROUP]), os.getpid())
    import torch

    from normzoo import plugins

    torch.set_num_threads(1)
    for path in load:
        # what fails to load is told by the cells that want it: a process that dies here would tell nothing
        with contextlib.suppress(plugins.PluginError):
            plugins.load(path)


def _end_with(parent: int, folder: Path | None) -> None:
    """End this process, in the middle of a cell too, once its parent is gone; records are the runner's to write."""
    while os.getppid() == parent and (folder is None or (folder / WANTED).exists()):
        time.sleep(0.5)
    if folder is not None and os.getppid() != parent:
        time.sleep(2)  # until the others have ended, too: one that is about to write there would wait for the folder
        shutil.rmtree(folder, ignore_errors=True)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _die_first() -> None:
    """Let the kernel end this process rather than the runner where memory runs out; where there is such a choice."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
