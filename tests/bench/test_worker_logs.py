"""What workers print, and what of it goes into a record."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from normzoo_bench.running.log import KEPT, LIMIT, Log, without_paths


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


def write(log: Log, text: str | bytes) -> None:
    with log.file.open("ab") as stream:
        stream.write(text if isinstance(text, bytes) else text.encode())


def test_the_tail_is_the_end_of_what_was_printed(log: Log) -> None:
    write(log, "".join(f"line {number}\n" for number in range(10_000)))
    assert log.tail().endswith("line 9998\nline 9999")
    assert len(log.tail()) == KEPT


def test_a_progress_bar_leaves_its_last_state_and_colours_go(log: Log) -> None:
    write(log, "\x1b[31mred\x1b[0m\r\n10 %\r50 %\r100 %\ndone\n")
    assert log.tail() == "red\n100 %\ndone"


def test_bytes_that_are_no_text_are_marked(log: Log) -> None:
    write(log, b"\xff\xfe kept\n")
    assert log.tail() == "\ufffd\ufffd kept"


def test_the_next_job_begins_with_an_empty_log(log: Log) -> None:
    write(log, "of the first\n")
    log.clear()
    write(log, "of the second\n")
    assert log.tail() == "of the second"


def test_megabytes_do_not_pile_up_and_the_end_is_kept(log: Log) -> None:
    for number in range(5):
        write(log, b"x" * LIMIT + f"\nend {number}\n".encode())
        log.trim()
        assert log.file.stat().st_size < LIMIT
    assert log.tail().endswith("x\nend 4")


def test_a_log_holds_no_folder_and_no_name_of_this_machine() -> None:
    home, host = Path.home() / "secret" / "norm.py", socket.gethostname()
    said = without_paths(f'File "{home}", line 3\n[W {host}:1234] {os.sep}srv{os.sep}data{os.sep}x.bin gone')
    assert said == 'File "…/norm.py", line 3\n[W this machine:1234] …/x.bin gone'


def test_of_a_long_stack_the_innermost_calls_are_kept_and_of_what_was_printed_the_last(log: Log) -> None:
    calls = "".join(f'  File "norm.py", line {number} in forward\n' for number in range(200))
    write(log, "x" * 9000 + "\nthe last words\nCurrent thread 0x00007f (most recent call first):\n" + calls)
    tail = log.tail()
    assert 'call first):\n  File "norm.py", line 0 in forward\n' in tail
    assert "xx\nthe last words\nCurrent thread" in tail
    assert tail.startswith("[…]xxx")
    assert tail.endswith("[…]")
    assert len(tail) == KEPT


def test_a_short_log_is_kept_whole(log: Log) -> None:
    told = "a word\nFatal Python error: Aborted\n\nCurrent thread 0x1 (most recent call first):\n  <no frame>"
    write(log, told + "\n")
    assert log.tail() == told


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("cannot open '/home/alice'", "cannot open '~'"),
        ("-I/home/alice/include/x.h", "-I~…/x.h"),
        ("in /root", "in ~"),
        ("in /rooted/x.y", "in …/x.y"),
    ],
)
def test_a_log_names_nobodys_home(said: str, kept: str) -> None:
    assert without_paths(said) == kept
