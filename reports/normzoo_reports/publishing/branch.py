"""A site as a branch of the git repository that one stands in. Neither the checkout nor its index is touched."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from normzoo_suites import SuiteError

_FORM = "write git:BRANCH, such as git:gh-pages, or git:BRANCH:FOLDER for a folder of it"
_PLAIN = ".nojekyll"  # GitHub else leaves out what begins with an underscore


class Branch:
    """A branch, made without history where there is none; commits are built of objects alone, without a checkout."""

    root: Path | None = None

    def __init__(self, text: str) -> None:
        """Find the branch: the local one, else the one that a single remote has, else none yet.

        Raises:
            SuiteError: when this is no repository, the name is none of a branch, or it is checked out somewhere.

        """
        self.name = text
        self.branch, _, under = text.removeprefix("git:").partition(":")
        self._under = "".join(f"{part}/" for part in under.split("/") if part)
        if any(part in (".", "..") or part.lower().startswith(".git") for part in under.split("/")):
            raise SuiteError(f"cannot publish to {text}: the folder must lie in the branch; {_FORM}")
        try:
            self._git("rev-parse", "--git-dir")
        except SuiteError as error:
            raise SuiteError(
                f"cannot publish to {text}: {error}; change to the folder of the repository first"
            ) from None
        if self.branch == "HEAD" or not self._holds("check-ref-format", "--branch", self.branch):
            raise SuiteError(f"cannot publish to {text}: {self.branch!r} is no name of a branch; {_FORM}")
        self._refuse_checked_out()
        self._old = self._commit_of(f"refs/heads/{self.branch}")
        self._start = self._old or self._remote_commit()
        self._pending: dict[str, bytes] = {}
        self._refuse_file()

    def paths(self) -> set[str]:
        """Give all files of the branch that are the site's."""
        if not self._start:
            return set()
        listed = self._git("ls-tree", "-r", "-z", "--full-tree", "--name-only", self._start).decode(errors="replace")
        found = {path for path in listed.split("\0") if path.startswith(self._under)}
        return {path.removeprefix(self._under) for path in found if path}

    def read(self, path: str) -> bytes:
        """Give a file's content as the branch has it, or as it was just written."""
        if path in self._pending:
            return self._pending[path]
        return self._git("cat-file", "blob", f"{self._start}:{self._under}{path}")

    def write(self, path: str, content: bytes) -> None:
        """Remember a file for the commit."""
        self._pending[path] = content

    def finish(self, message: str) -> str:
        """Commit what was written, if it changes anything, and give the command that pushes it."""
        tree = self._tree()
        if self._start and tree == self._git("rev-parse", f"{self._start}^{{tree}}").decode().strip():
            return ""
        parents = ["-p", self._start] if self._start else []
        commit = self._git("commit-tree", tree, *parents, "-m", message).decode().strip()
        try:  # the old value is named, so that a commit that somebody made meanwhile is not lost
            self._git("update-ref", "-m", "normzoo publish", f"refs/heads/{self.branch}", commit, self._old)
        except SuiteError as error:
            raise SuiteError(f"cannot move {self.branch}: {error}; publish again") from None
        return f"committed to {self.branch} as {commit[:12]}; push it with: git push {self._remote()} {self.branch}"

    def _tree(self) -> str:
        """Write the tree with an index of its own."""
        if not self._under and _PLAIN not in self.paths():
            self._pending[_PLAIN] = b""
        with tempfile.TemporaryDirectory() as folder:
            index = Path(folder) / "index"
            if self._start:
                self._git("read-tree", self._start, index=index)
            lines = []
            for path, content in self._pending.items():
                blob = self._git("hash-object", "-w", "--stdin", given=content).decode().strip()
                lines.append(f"100644 {blob}\t{self._under}{path}\0")
            self._git("update-index", "-z", "--index-info", given="".join(lines).encode(), index=index)
            tree = self._git("write-tree", index=index).decode().strip()
        listed = set(self._git("ls-tree", "-r", "-z", "--full-tree", "--name-only", tree).decode().split("\0"))
        lost = [path for path in self._pending if f"{self._under}{path}" not in listed]
        if lost:  # git leaves out, and says nothing of, names that could hurt a checkout
            raise SuiteError(f"git takes no file {self._under}{lost[0]}; rename the run's folder")
        return tree

    def _refuse_file(self) -> None:
        """Refuse a folder that is a file in the branch: writing below it would remove it."""
        parts = self._under.strip("/").split("/")
        for end in range(1, len(parts) + 1) if self._start and self._under else ():
            path = "/".join(parts[:end])
            if self._git("ls-tree", "--full-tree", self._start, path)[7:11] == b"blob":
                raise SuiteError(f"cannot publish to {self.name}: {path} is a file there; name another folder")

    def _refuse_checked_out(self) -> None:
        listed = self._git("worktree", "list", "--porcelain").decode(errors="replace")
        for block in listed.split("\n\n"):
            lines = block.splitlines()
            if f"branch refs/heads/{self.branch}" in lines:
                where = lines[0].removeprefix("worktree ")
                raise SuiteError(
                    f"cannot publish to {self.name}: the branch is checked out in {where}; publish to that folder, "
                    "or check out another branch there"
                )

    def _commit_of(self, reference: str) -> str:
        found = self._git("for-each-ref", "--format=%(objectname)", reference).decode().split()
        return found[0] if found else ""

    def _remote_commit(self) -> str:
        every = [self._commit_of(f"refs/remotes/{remote}/{self.branch}") for remote in self._remotes()]
        found = [commit for commit in every if commit]
        return found[0] if len(found) == 1 else ""

    def _remotes(self) -> list[str]:
        return self._git("remote").decode().split()

    def _remote(self) -> str:
        remotes = self._remotes()
        return remotes[0] if len(remotes) == 1 else "origin" if "origin" in remotes else "REMOTE"

    def _holds(self, *words: str) -> bool:
        try:
            self._git(*words)
        except SuiteError:
            return False
        return True

    def _git(self, *words: str, given: bytes = b"", index: Path | None = None) -> bytes:
        environment = os.environ | ({"GIT_INDEX_FILE": str(index)} if index else {})
        try:
            done = subprocess.run(["git", *words], input=given, capture_output=True, check=False, env=environment)
        except OSError as error:
            raise SuiteError(f"git cannot be run: {error.strerror}") from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise SuiteError(f"git {words[0]}: {said or f'exit code {done.returncode}'}")
        return done.stdout
