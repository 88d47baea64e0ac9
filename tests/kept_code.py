"""Compiled code kept between runs of the tests, for processes that work at the same time.

    python tests/kept_code.py COMMAND ...   # runs the command with the kept code

`$GAMMAGRAD_TEST_CACHE` names the folder, which the Makefile sets; without it nothing is kept. JAX
writes a piece of code in place, so another process could read half of one. So each process works in
a folder of its own, with links to all that is kept, and links back what it added once it is whole.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable
from pathlib import Path

from gammagrad.cli.compile_cache import cache_folder

VARIABLE = "GAMMAGRAD_TEST_CACHE"
DAY = 86400.0
LARGEST = 2**30
"""Bytes that are kept: what was not read for longest goes first."""

_ENTRY = "-cache"  # how JAX ends the name of a piece of code
_RUNNING = "running-"


def kept_folder() -> Path | None:
    """Return the folder for this processor and version of JAX; None if code is not to be kept."""
    named = os.environ.get(VARIABLE)
    if not named or not hasattr(os, "getuid"):
        return None
    base = Path(named).expanduser().absolute()
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        # loaded code runs, so nobody else may write any
        about = base.stat()
        if about.st_uid != os.getuid() or about.st_mode & 0o077:
            print(f"Compiled code is not kept: {base} is not yours alone", file=sys.stderr)
            return None
        folder = base / cache_folder().name
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        print(f"Compiled code is not kept: {error}", file=sys.stderr)
        return None
    return folder


class KeptCode:
    """A process's own folder of compiled code, and the folder that it shares with others."""

    def __init__(self, kept: Path) -> None:
        self.kept = kept
        self.own = Path(tempfile.mkdtemp(prefix=_RUNNING, dir=kept))
        self._known: set[str] = set()
        self.exchange()

    def settings(self) -> dict[str, str | float]:
        """Return the settings that let JAX use the folder, for code of any size."""
        return {
            "jax_compilation_cache_dir": str(self.own),
            "jax_persistent_cache_min_compile_time_secs": 0.0,
            "jax_persistent_cache_min_entry_size_bytes": -1,
            # others would make the folder's name a part of the code's key
            "jax_persistent_cache_enable_xla_caches": "none",
        }

    def exchange(self) -> None:
        """Hand on what was compiled here, and take what others did; none is being written now."""
        mine, theirs = entries(self.own), entries(self.kept)
        for name in mine - self._known:
            if whole(self.own / name):
                link(self.own / name, self.kept / name)
        for name in theirs - mine:
            link(self.kept / name, self.own / name)
        self._known = mine | theirs

    def close(self) -> None:
        """Hand on what was compiled here and leave the folder."""
        self.exchange()
        shutil.rmtree(self.own, ignore_errors=True)


def entries(folder: Path) -> set[str]:
    with os.scandir(folder) as found:
        return {entry.name for entry in found if entry.name.endswith(_ENTRY)}


def link(source: Path, target: Path) -> None:
    """Give a file a second name, unless another process did so, or removed it, just now."""
    with contextlib.suppress(FileExistsError, FileNotFoundError):
        os.link(source, target)


def whole(path: Path) -> bool:
    """Say whether an entry was written to its end, which a killed process does not do."""
    data = path.read_bytes()
    if data[:1] != b"\x78":  # not of zlib
        return bool(data)
    unpacked = zlib.decompressobj()
    try:
        unpacked.decompress(data)
    except zlib.error:
        return False
    return unpacked.eof


def prune(kept: Path, largest: int = LARGEST) -> None:
    """Remove what was not read for longest, and what killed processes left."""
    for left, about in stats(kept.parent.glob(f"*/{_RUNNING}*")):
        if time.time() - about.st_mtime > DAY:
            shutil.rmtree(left, ignore_errors=True)
    files = stats(kept.parent.glob(f"*/*{_ENTRY}"))
    total = sum(about.st_size for _, about in files)
    for path, about in sorted(files, key=lambda file: file[1].st_atime):
        if total <= largest:
            return
        path.unlink(missing_ok=True)
        total -= about.st_size


def stats(paths: Iterable[Path]) -> list[tuple[Path, os.stat_result]]:
    """Return the files with what is known of them, without those that another process removed."""
    found = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            found.append((path, path.stat()))
    return found


def main(command: list[str]) -> int:
    """Run a command with the kept code and return its exit code."""
    kept = kept_folder()
    if kept is None:
        return subprocess.run(command, check=False).returncode
    code = KeptCode(kept)
    variables = {name.upper(): str(value) for name, value in code.settings().items()}
    try:
        return subprocess.run(command, env=os.environ | variables, check=False).returncode
    finally:
        code.close()
        prune(kept)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
