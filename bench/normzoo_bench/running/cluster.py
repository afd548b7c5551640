"""A Ray cluster, as a run sees it: joined in silence, asked for its nodes, and left again."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from normzoo_bench.errors import UsageError
from normzoo_bench.running.shares import Node

if TYPE_CHECKING:
    from types import ModuleType

OBJECT_STORE = 100 << 20
"""Bytes of shared memory of a cluster that is started here: what passes through it are records."""

CONNECT = 10.0
"""Seconds until a cluster that does not answer counts as not there."""

ASK = 5.0
"""Seconds between two looks whether a cluster's head is there."""

GONE = 30.0
"""Seconds without an answer from a cluster's head after which it counts as lost. Ray itself would end this process."""

_QUIET = {
    "RAY_gcs_rpc_server_reconnect_timeout_s": "3600",  # when its head is lost, Ray ends this process: we come first
    "RAY_USAGE_STATS_ENABLED": "0",  # it would tell its makers
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # what it prints of lost nodes and logs would go in between a run's own lines
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as newer versions do, without a line that says so
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # of tasks that were cancelled, nobody asks how they ended
}


def ray() -> ModuleType:
    """Import Ray, which takes a second and is not always there.

    Raises:
        UsageError: when it is not installed.

    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise UsageError("--executor ray needs Ray; pip install 'normzoo[cluster]', on every node") from None


@contextlib.contextmanager
def joined(address: str | None) -> Iterator[ModuleType]:
    """Be part of a cluster: the one that this process is connected to, else that at ``address``, else one of its own.

    An own one is this machine alone, and ends with the block.

    Raises:
        UsageError: when there is no Ray, or no cluster at that address that can be joined.

    """
    module = ray()
    if module.is_initialized():
        yield module  # whoever has connected will leave
        return
    with _handling_of_sigterm_kept():
        _connect(module, address)
    try:
        yield module
    finally:
        module.shutdown()


def _connect(module: ModuleType, address: str | None) -> None:
    if address is None:
        # Ray would leave a token at home, which clusters that are started later then ask of their nodes
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    asked: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False}
    if address is None:
        asked |= {"address": "local", "object_store_memory": OBJECT_STORE}
    elif "://" in address:
        raise UsageError(
            f"--address {address}: a run is a driver on a node of the cluster, not a client from outside; start it on "
            "one with --address auto, or make this machine a node: ray start --address HOST:6379"
        )
    else:
        asked["address"] = address
    try:
        _require_a_listener(address)
        module.init(**asked)
    except (OSError, RuntimeError, ValueError, AssertionError) as error:  # each for another way of not being there
        module.shutdown()
        where = "start a Ray cluster here" if address is None else f"join the Ray cluster at {address}"
        said = " ".join(str(error).split())[:300]
        raise UsageError(
            f"cannot {where}: {said}; `ray status` says what is up, and whether it wants a token (RAY_AUTH_MODE)"
        ) from None


def _require_a_listener(address: str | None) -> None:
    """Require that somebody answers at HOST:PORT; Ray itself would ask for minutes. Raises OSError."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT).close()


@contextlib.contextmanager
def _handling_of_sigterm_kept() -> Iterator[None]:
    """Put back how SIGTERM is handled: Ray ends the process by it, and a run stops as it does by Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def nodes(module: ModuleType) -> list[Node]:
    """Give the nodes that are up."""
    return [
        Node(node["NodeID"], node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
        for node in module.nodes()
        if node["Alive"]
    ]


def answers(module: ModuleType) -> bool:
    """Tell whether the cluster's head is there: without it Ray waits, and tells nobody."""
    address = module.get_runtime_context().gcs_address
    try:
        _require_a_listener(address)
    except OSError:
        return False
    return True
