"""One contender of a case in a process of its own, told what to do by `run.py`.

python benchmarks/contender.py {gammagrad,gammapy,limit,prepare} CASE --folder FOLDER

Once its libraries and data are loaded it answers one line, and then one line for every line it
reads: "run" for the time of a run, anything else to end. Answers are JSON. "prepare" writes the
simulated field of a case into the folder, and ends.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cases import CASES, Case

Reply = dict[str, Any]


def memory(name: str) -> int:
    """Return a number of bytes that the system keeps for this process: VmRSS, VmHWM."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


class Peak:
    """How far memory rises above where it was when this was made."""

    def __init__(self) -> None:
        self.before: int | None = None
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            self.before = memory("VmRSS")
        except OSError:  # not a Linux system, or one that does not let us
            pass

    def above(self) -> int | None:
        """Return the number of bytes; None where the system does not tell."""
        return None if self.before is None else memory("VmHWM") - self.before


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Do some work; return its result and the seconds it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


class Engine:
    """Wraps gammagrad's `fit_occupied`: notes what it gets, gives and takes."""

    def __init__(self) -> None:
        from gammagrad.core.ts_map import sparse

        self.inner = sparse.fit_occupied
        self.seconds = 0.0
        self.keeps = False
        self.last: tuple[Any, ...] = ()
        for module in list(sys.modules.values()):
            is_ours = getattr(module, "__name__", "").startswith("gammagrad.")
            if is_ours and getattr(module, "fit_occupied", None) is self.inner:
                module.fit_occupied = self

    def __call__(self, datasets: Any, fitted: Any, **settings: Any) -> Any:
        import jax

        jax.block_until_ready(list(datasets))
        fit, seconds = timed(lambda: self.inner(datasets, fitted, **settings))
        self.seconds += seconds
        if self.keeps:
            self.last = (datasets, fitted, fit)
        return fit


class Gammagrad:
    """The estimator of gammagrad on a whole map."""

    def __init__(self, case: Case, options: argparse.Namespace) -> None:
        import jax

        import gammagrad
        from gammagrad.models import GaussianSpatialModel, PowerLawSpectralModel, SkyModel

        self.engine = Engine()
        self.datasets = [gammagrad.MapDataset.read(path) for path in case.paths(options.folder)]
        model = None
        if case.sigma is not None:
            model = SkyModel(PowerLawSpectralModel(), GaussianSpatialModel(sigma=case.sigma))
        self.estimator = gammagrad.TSMapEstimator(
            model, **case.settings, **case.ours, show_progress=False
        )
        self.about = {"backend": jax.default_backend(), "pixels": self.datasets[0].geom.npix}

    def run(self) -> Reply:
        """Run once."""
        self.engine.seconds = 0.0
        peak = Peak()
        maps, seconds = timed(lambda: self.estimator.run(self.datasets))
        ts = maps["ts"].data
        return {
            "seconds": seconds,
            "engine": self.engine.seconds,
            "peak": peak.above(),
            "fitted": int((ts == ts).sum()),
            "kernel": maps.meta["kernel_shapes"],
        }


class Gammapy:
    """The estimator of gammapy, at every pixel or at every so many along rows and columns."""

    def __init__(self, case: Case, options: argparse.Namespace) -> None:
        import astropy.units as u
        from gammapy.datasets import Datasets, MapDataset
        from gammapy.modeling.models import (
            GaussianSpatialModel,
            PointSpatialModel,
            PowerLawSpectralModel,
            SkyModel,
        )

        self.datasets = Datasets([MapDataset.read(path) for path in case.paths(options.folder)])
        spatial = PointSpatialModel()
        if case.sigma is not None:
            spatial = GaussianSpatialModel(sigma=u.Quantity(case.sigma))
        model = SkyModel(spectral_model=PowerLawSpectralModel(), spatial_model=spatial)
        every = case.every
        if options.quick:
            pixels = np.prod(self.datasets[0].counts.data.shape[-2:])
            every = max(every, math.ceil(math.sqrt(pixels / case.quick_pixels)))
        self.every = every
        self.estimator = sampling_estimator(self.begin_fit)(
            model=model, **case.settings, n_jobs=options.jobs
        )
        self.about = {"every": every}

    def begin_fit(self) -> int:
        """Note what had been used when the first pixel is to be fitted; return which to fit."""
        self.setup = time.perf_counter() - self.start
        self.setup_peak = self.peak.above()
        self.held = None if self.peak.before is None else memory("VmRSS") - self.peak.before
        self.fit_peak = Peak()
        return self.spacing

    def run(self) -> Reply:
        """Run once; if at few pixels, then at fewer too: what all need does not scale."""
        reply = self.run_at(self.every)
        return reply | {"few": self.run_at(4 * self.every)} if self.every > 1 else reply

    def run_at(self, spacing: int) -> Reply:
        """Run at every so many pixels."""
        self.spacing = spacing
        self.peak = Peak()
        self.start = time.perf_counter()
        maps = self.estimator.run(self.datasets)
        seconds = time.perf_counter() - self.start
        ts = maps["ts"].data
        return {
            "seconds": seconds,
            "fitting": seconds - self.setup,
            "peak": self.setup_peak,
            "held": self.held,
            "grown": self.fit_peak.above(),
            "fitted": int((ts == ts).sum()),
        }


def sampling_estimator(begin_fit: Callable[[], int]) -> type:
    """Return gammapy's estimator, made to fit every so many pixels, and to tell when it begins.

    The data of the pixels between enter all the same, as they do for the whole map.
    """
    from gammapy.estimators import TSMapEstimator

    class Sampling(TSMapEstimator):
        def _estimate_mask_2d(self, map_dict: Any) -> Any:
            mask = TSMapEstimator._estimate_mask_2d(map_dict)
            every = begin_fit()
            kept = np.zeros_like(mask)
            kept[..., every // 2 :: every, every // 2 :: every] = True
            return mask & kept

    return Sampling


class Limit:
    """The compiled loop on the arrays that the engine gets, the default fit only."""

    def __init__(self, case: Case, options: argparse.Namespace) -> None:
        import limit

        self.loop: limit.Limit | None = None
        self.about: Reply = {}
        library = limit.compiled(options.folder)
        if library is None:
            self.about = {"missing": "there is no C compiler"}
            return
        fit = Gammagrad(case, options)
        fit.engine.keeps = True
        fit.run()
        datasets, fitted, truth = fit.engine.last
        self.loop = limit.Limit(library, datasets, fitted)
        self.about = {"off": limit.disagreement(self.loop.run(1), truth)}
        self.cores = os.cpu_count() or 1

    def run(self) -> Reply:
        """Run with one thread and with all, and without the fit once bins are collected."""
        assert self.loop is not None
        reply: Reply = {}
        for name, threads in (("one", 1), ("all", self.cores)):
            parts = self.loop.run(threads).seconds
            collected = self.loop.run(threads, only_collect=True).seconds["fit"]
            reply[name] = {
                "threads": threads,
                "seconds": sum(parts.values()),
                "collect": collected,
                "parts": parts,
            }
        return reply | {"seconds": reply["all"]["seconds"]}


def prepare(case: Case, folder: Path) -> None:
    """Write the simulated field of a case."""
    from gammagrad.simulate import simulate_field

    field = simulate_field(seed=0, **case.simulated)
    field.dataset.write(case.paths(folder)[0], overwrite=True)


CONTENDERS = {"gammagrad": Gammagrad, "gammapy": Gammapy, "limit": Limit}


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("who", choices=[*CONTENDERS, "prepare"])
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--folder", type=Path, required=True, help="for simulated data")
    parser.add_argument("--jobs", type=int, default=1, help="processes of gammapy")
    parser.add_argument("--quick", action="store_true", help="gammapy on few pixels")
    options = parser.parse_args()
    # the answers have standard output to themselves
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)

    case = CASES[options.case]
    if options.who == "prepare":
        prepare(case, options.folder)
        return
    contender = CONTENDERS[options.who](case, options)
    print(json.dumps(contender.about), file=answers, flush=True)
    for line in sys.stdin:
        if line.strip() != "run":
            break
        print(json.dumps(contender.run()), file=answers, flush=True)


if __name__ == "__main__":
    main()
