"""Atomic writing of one or several files."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from gammagrad.errors import FileAccessError, FileIsThereError, FileMissingError
from gammagrad.io.paths import Filename, expand_path

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed anyway
    fcntl = None


Content = Callable[[BinaryIO], object]
"""Writes the content of a file."""

_SUFFIX = ".tmp"
_DAY = 86400.0
_own: set[Path] = set()  # the temporary files that this process is writing


def write_files(files: Sequence[tuple[Filename, Content]], overwrite: bool = False) -> None:
    """Write files, all completely or none."""
    # All are written under temporary names first, then moved. A replaced file keeps its mode; for a
    # link, its target is replaced.
    targets = check_targets([path for path, _ in files], overwrite)
    with contextlib.ExitStack() as stack:
        written = []
        for target, (_, content) in zip(targets, files, strict=True):
            with _explained(target):
                written.append(stack.enter_context(_written(target, content)))
        _move_all(list(zip(written, targets, strict=True)), overwrite)


def check_targets(paths: Sequence[Filename], overwrite: bool) -> list[Path]:
    """Return the targets of files, with links followed, or raise an error."""
    targets = []
    for name in paths:
        path = expand_path(name)
        if path.is_dir():
            raise FileAccessError(f"{str(path)!r} is a folder; expected the name of a file.")
        if path.exists() and not overwrite:
            raise _is_there(path)
        target = Path(os.path.realpath(path))
        if not target.parent.is_dir():
            raise FileMissingError(f"no folder {str(path.parent)!r} to write {path.name!r} into.")
        if target in targets:
            raise FileAccessError(f"{str(path)!r}: two contents for one file; use different names.")
        targets.append(target)
    return targets


def _is_there(path: Path) -> FileIsThereError:
    return FileIsThereError(f"{str(path)!r} already exists; use overwrite=True to replace it.")


@contextlib.contextmanager
def _explained(target: Path) -> Iterator[None]:
    """Name the file in an operating system error."""
    try:
        yield
    except FileAccessError:
        raise
    except FileExistsError as error:
        raise _is_there(target) from error
    except OSError as error:
        raise FileAccessError(
            f"cannot write {str(target)!r} ({error.strerror or error}); choose another place, or "
            "see to its permissions and space."
        ) from error


@contextlib.contextmanager
def _written(target: Path, content: Content) -> Iterator[Path]:
    """Write a temporary file, and remove it in the end unless it was moved."""
    _remove_leftovers(target)
    path = _beside(target)
    _own.add(path)
    try:
        with open(path, "wb") as file:  # a name of its own
            _lock(file)
            content(file)
            file.flush()
            os.fsync(file.fileno())
            if target.exists():
                os.chmod(path, stat.S_IMODE(target.stat().st_mode))
            if fcntl is None:
                file.close()
            # locked until it is moved, so that no other process takes it for a leftover
            yield path
    finally:
        path.unlink(missing_ok=True)
        _own.discard(path)


def _beside(target: Path) -> Path:
    """Return the name of a temporary file, which identifies its owner."""
    unique = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    return target.with_name(f".{target.name[-100:]}.{unique}{_SUFFIX}")


def _remove_leftovers(target: Path) -> None:
    """Remove the temporary files of processes that were killed."""
    start = f".{target.name[-100:]}."
    with contextlib.suppress(OSError):
        for path in target.parent.iterdir():
            name = path.name
            if name.startswith(start) and name.endswith(_SUFFIX):
                owner = name[len(start) : -len(_SUFFIX)].partition("-")[0]
                if owner.isdigit() and _is_left(path, int(owner)):
                    path.unlink(missing_ok=True)


def _is_left(path: Path, owner: int) -> bool:
    """Return whether no process is writing a temporary file any more."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        if not _lock(file):
            return False
        if owner == os.getpid():
            return path not in _own
        return not _runs(owner) or time.time() - path.stat().st_mtime > _DAY
    return False


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # it exists, and belongs to another user
    return True


def _lock(file: BinaryIO) -> bool:
    """Lock a file, and return whether this worked."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def _move_all(moves: Sequence[tuple[Path, Path]], overwrite: bool) -> None:
    """Move files to their places; if one fails, restore the others."""
    kept: list[tuple[Path, Path | None]] = []
    try:
        for temporary, target in moves:
            with _explained(target):
                kept.append((target, _copy_of(target) if len(moves) > 1 else None))
                _move(temporary, target, overwrite)
    except BaseException:
        # the last one was not moved
        for target, before in kept[:-1]:
            if before is None:
                target.unlink(missing_ok=True)
            else:
                os.replace(before, target)
        raise
    finally:
        for _, before in kept:
            if before is not None:
                before.unlink(missing_ok=True)


def _copy_of(target: Path) -> Path | None:
    """Return a second name of a file, to restore it; None if there is no file."""
    if not target.exists():
        return None
    copy = _beside(target)
    try:
        os.link(target, copy)
    except OSError:  # a file system without links
        shutil.copy2(target, copy)
    return copy


def _move(temporary: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(temporary, target)
        return
    try:
        # unlike a move it fails where another process was faster
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        open(target, "xb").close()
        os.replace(temporary, target)


def text_content(text: str) -> Content:
    """Return a writer of a text, as UTF-8."""
    return lambda file: file.write(text.encode())


def write_text(text: str, filename: Filename, overwrite: bool = False) -> None:
    """Write a text file atomically."""
    write_files([(filename, text_content(text))], overwrite)
