"""The compiled loop of `limit.c`, called on the arrays that the engine gets."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.fft

SOURCE = Path(__file__).with_name("limit.c")
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC")
PHASES = ("model sums", "lists", "window sums", "bound", "fit")
MAPS = ("norm", "s2", "gain", "bound", "stat_null", "background_sum")

_doubles = ctypes.POINTER(ctypes.c_double)


class _Dataset(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("images", "components", "ny", "nx", "ky", "kx")),
        *((name, _doubles) for name in ("counts", "background", "exposure", "kernel")),
    ]


class _Result(ctypes.Structure):
    _fields_ = [*((name, _doubles) for name in MAPS), ("niter", ctypes.POINTER(ctypes.c_int32))]


class Fit(NamedTuple):
    """Maps, shape (rows, cols), and the seconds of each phase."""

    maps: dict[str, np.ndarray]
    seconds: dict[str, float]


def compiled(folder: Path) -> ctypes.CDLL | None:
    """Compile the loop into a folder and load it; None without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "limit.so"
    subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(library), "-lm"], check=True)
    return ctypes.CDLL(str(library))


def _doubles_of(array: np.ndarray) -> Any:
    return array.ctypes.data_as(_doubles)


class Limit:
    """The loop on one set of arrays, `BinImages` of each dataset and the pixels to fit."""

    def __init__(self, library: ctypes.CDLL, datasets: Sequence[Any], fitted: np.ndarray) -> None:
        self.library = library
        names = ("counts", "background", "exposure", "kernel")
        self.arrays = [
            {name: np.ascontiguousarray(getattr(d, name), np.float64) for name in names}
            for d in datasets
        ]
        self.fitted = np.ascontiguousarray(fitted, np.uint8)
        shapes = [(*a["exposure"].shape, *a["kernel"].shape[-2:]) for a in self.arrays]
        self.data = (_Dataset * len(shapes))(
            *(
                _Dataset(*shape, *(_doubles_of(arrays[name]) for name in names))
                for shape, arrays in zip(shapes, self.arrays, strict=True)
            )
        )
        # pages that are new cost more than what is measured
        self.maps = {name: np.zeros(fitted.shape) for name in MAPS}
        self.maps["niter"] = np.zeros(fitted.shape, np.int32)

    def model_sum(self, threads: int) -> np.ndarray:
        """Sum the model over each pixel's window, by FFT."""
        total = np.zeros(self.fitted.shape)
        for arrays in self.arrays:
            (ny, nx), (ky, kx) = arrays["exposure"].shape[-2:], arrays["kernel"].shape[-2:]
            shape = tuple(scipy.fft.next_fast_len(n, real=True) for n in (ny + ky - 1, nx + kx - 1))
            with scipy.fft.set_workers(threads):
                exposure = scipy.fft.rfft2(arrays["exposure"], shape)
                kernel = scipy.fft.rfft2(arrays["kernel"][..., ::-1, ::-1], shape)
                product = np.einsum("icyx,icyx->yx", exposure, kernel)
                full = scipy.fft.irfft2(product, shape)
            total += full[ky // 2 : ky // 2 + ny, kx // 2 : kx // 2 + nx]
        return total

    def run(self, threads: int, only_collect: bool = False) -> Fit:
        """Fit all pixels."""
        start = time.perf_counter()
        total = self.model_sum(threads)
        seconds = [time.perf_counter() - start]
        clocks = np.zeros(len(PHASES) - 1)
        maps = self.maps
        result = _Result(
            *(_doubles_of(maps[name]) for name in MAPS),
            maps["niter"].ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
        )
        self.library.fit_all(
            ctypes.c_int64(len(self.data)),
            self.data,
            self.fitted.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8)),
            _doubles_of(total),
            threads,
            int(only_collect),
            ctypes.byref(result),
            _doubles_of(clocks),
        )
        seconds += clocks.tolist()
        found = maps | {"model_sum": total}
        return Fit(found, dict(zip(PHASES, seconds, strict=True)))


def disagreement(fit: Fit, truth: Any) -> dict[str, float]:
    """Compare with the engine's result: largest differences in norm and TS.

    The norm is compared in units of its error (of what raises the statistic by 1, where there are
    no counts), the rest relative to 1 plus its size.
    """
    maps, total = fit.maps, fit.maps["model_sum"]
    seen = np.isfinite(truth.norm_err) | (np.asarray(truth.norm) != 0)
    seen &= np.isfinite(truth.norm)
    seen &= total > 0
    error = np.where(
        np.isfinite(truth.norm_err), truth.norm_err, 1 / (2 * np.where(seen, total, 1))
    )
    ts = np.maximum(2 * (maps["gain"] - maps["norm"] * total), 0)
    excess = maps["norm"] * total
    pairs = {
        "ts": (ts, np.abs(truth.ts)),
        "stat_null": (maps["stat_null"], truth.stat_null),
        "npred": (maps["background_sum"] + excess, truth.npred),
    }
    found = {"norm": float((np.abs(maps["norm"] - truth.norm) / error)[seen].max())}
    for name, (mine, other) in pairs.items():
        found[name] = float((np.abs(mine - other) / (1 + np.abs(other)))[seen].max())
    return found
