"""What a worker prints: a file whose end goes into records."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
from pathlib import Path

KEPT = 4000  # characters that a record keeps
STACK = 2000  # of them, of where it was at its end
CUT = "[…]"  # stands where something is left out
LIMIT = 1 << 20  # bytes that a file may hold before its beginning goes

_PATH = re.compile(r"(?<![\w.])(~|[A-Za-z]:)?([/\\][^\s'\":,/\\]+)+[/\\]")
_HOME = re.compile(r"/(home|Users)/[^/\s'\":,]+|/root\b")  # of anybody, at the end of a path and in its middle
_STACK = re.compile(r"^(Fatal Python error: .*|Current thread .*most recent call first.*)$", re.MULTILINE)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def without_paths(text: str) -> str:
    """Take this machine's folders and its name out of a text that goes into a record."""
    text = _PATH.sub("…/", _HOME.sub("~", text))
    host = socket.gethostname()
    return re.sub(rf"\b{re.escape(host)}\b", "this machine", text) if host else text


def redirect(file: Path) -> None:
    """Let all that this process and its children print from here on be appended to a file, line by line."""
    log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError):  # closed, or not a text stream of Python's own
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a TextIOWrapper here
    for stream_number in (1, 2):
        os.dup2(log, stream_number)
    os.close(log)


class Log:
    """A worker's file, read and kept short by the one who has started it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.touch(0o600)

    def clear(self) -> None:
        """Begin anew: whoever writes appends, so the next line is the first."""
        with contextlib.suppress(FileNotFoundError):  # whoever clears folders for temporary files had it
            os.truncate(self.file, 0)

    def trim(self) -> None:
        """Forget the beginning of what has become too long; the worker writes on meanwhile."""
        with contextlib.suppress(FileNotFoundError):
            if self.file.stat().st_size > LIMIT:
                end = self._end()
                self.clear()
                with self.file.open("ab") as stream:
                    stream.write(end)

    def tail(self) -> str:
        """Give the last lines, without colours, paths and what a progress bar wrote over.

        A crash lists every extension that is loaded, a screen full of names, after it has told where it was: that goes.
        """
        lines = self._end().decode(errors="replace").replace("\r\n", "\n").split("\n")
        told = (line.rstrip("\r").rpartition("\r")[2].rstrip() for line in lines)
        text = "\n".join(line for line in told if not line.startswith("Extension modules: "))
        return _shortened(without_paths(_ESCAPES.sub("", text)).strip("\n"))

    def _end(self) -> bytes:
        try:
            with self.file.open("rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - 8 * KEPT))
                return stream.read()
        except FileNotFoundError:
            return b""


def _shortened(text: str) -> str:
    """Keep the last of what was printed, and the first of where it was at its end: innermost calls stand first."""
    if len(text) <= KEPT:
        return text
    stack = _STACK.search(text)
    printed, where = (text[: stack.start()], text[stack.start() :]) if stack else (text, "")
    if len(where) > STACK:
        where = f"{where[: STACK - len(CUT) - 1]}\n{CUT}"
    room = KEPT - len(where) - len(CUT)
    return f"{CUT}{printed[-room:]}{where}" if len(printed) > room else printed + where
