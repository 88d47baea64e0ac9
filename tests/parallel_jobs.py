"""Jobs for worker processes, which import this file by its name."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from typing import Any


class UnreadableError(Exception):
    """An error that can be pickled and not read again."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


def double(job: int) -> int:
    return 2 * job


def surroundings(job: Any) -> dict[str, Any]:
    """Tell what a worker finds."""
    import jax

    # so long that another worker takes the next
    time.sleep(job)
    # what is printed must not get into the caller's output
    print("noise")
    warnings.warn("more noise", stacklevel=1)
    return {
        "pid": os.getpid(),
        "processors": sorted(os.sched_getaffinity(0)),
        "nproc": os.environ["PJRT_NPROC"],
        "devices": {device.platform for device in jax.devices()},
        "main": getattr(sys.modules["__main__"], "__file__", None),
    }


def fail(job: str) -> None:
    """End in the way that the job names."""
    if job == "value":
        raise ValueError("norm is wrong; expected a right one.")
    if job == "unreadable":
        raise UnreadableError("this", "that")
    if job == "memory":
        raise MemoryError("unable to allocate 9 TiB")
    if job == "end of file":
        raise EOFError("no more data")
    if job == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "exit":
        print("the library says goodbye", file=sys.stderr, flush=True)
        os._exit(3)
    if job != "quick":
        time.sleep(60)
