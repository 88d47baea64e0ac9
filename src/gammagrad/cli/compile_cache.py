"""Compiled code kept between commands, so that a second one starts sooner."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import tempfile
from pathlib import Path

import jax

log = logging.getLogger(__name__)

NO_CACHE = "GAMMAGRAD_NO_CACHE"
"""Environment variable that, if it is not empty, switches the cache off."""

# what of Linux's list tells processors with different instructions apart
_PROCESSOR_FIELDS = ("model name", "flags", "Features", "CPU part")


def keep_compiled_code() -> Path | None:
    """Let JAX keep compiled code on disk, for the whole process."""
    if os.environ.get(NO_CACHE) or jax.config.values.get("jax_compilation_cache_dir"):
        return None
    folder = cache_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (reason := _not_ours(folder)) is not None:
            log.info("compiled code is not kept: %s %s", folder, reason)
            return None
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        log.info("compiled code is not kept: %s", error)
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # all of it: much of a first run's time goes into many small functions
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


def _not_ours(folder: Path) -> str | None:
    """Return why code in a folder cannot be trusted, since what is loaded runs; None if it can."""
    if not hasattr(os, "getuid"):
        return None
    about = folder.stat()
    if about.st_uid != os.getuid():
        return "belongs to somebody else"
    if about.st_mode & 0o022:
        return "can be written by others"
    if about.st_mode & 0o077:
        folder.chmod(0o700)
    return None


def cache_folder() -> Path:
    """Return the folder for code that is compiled here."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    known = (jax.__version__, platform.system(), *_processor())
    name = hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]
    return base / "gammagrad" / f"compiled-{name}"


def _processor() -> list[str]:
    """Return what is known of the processor's kind."""
    found = {"machine": platform.machine(), "processor": platform.processor()}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    for line in lines:
        field, _, value = line.partition(":")
        if field.strip() in _PROCESSOR_FIELDS:
            found.setdefault(field.strip(), value.strip())
    return [f"{field}: {value}" for field, value in found.items()]
