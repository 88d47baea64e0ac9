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
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cases import CASES, Case

Reply = dict[str, Any]


def memory(name: str) -> int:
    """Return a number of bytes that the system keeps for this process: VmRSS, VmHWM."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def peak_above_start(work: Callable[[], Any]) -> tuple[Any, int | None]:
    """Do some work; return its result, and how far memory rose above what it was, in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = memory("VmRSS")
    except OSError:  # not a Linux system, or one that does not let us
        return work(), None
    result = work()
    return result, memory("VmHWM") - before


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Do some work; return its result and the seconds it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


class Engine:
    """Wraps gammagrad's `fit_occupied`: notes what it gets, gives and takes."""

    def __init__(self) -> None:
        from gammagrad.core import occupied

        self.inner = occupied.fit_occupied
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
        (maps, seconds), peak = peak_above_start(
            lambda: timed(lambda: self.estimator.run(self.datasets))
        )
        ts = maps["ts"].data
        return {
            "seconds": seconds,
            "engine": self.engine.seconds,
            "peak": peak,
            "fitted": int((ts == ts).sum()),
            "kernel": maps.meta["kernel_shapes"],
        }


class Gammapy:
    """The estimator of gammapy, on a whole map or on a part in its middle."""

    def __init__(self, case: Case, options: argparse.Namespace) -> None:
        import astropy.units as u
        from gammapy.datasets import Datasets, MapDataset
        from gammapy.estimators import TSMapEstimator
        from gammapy.modeling.models import (
            GaussianSpatialModel,
            PointSpatialModel,
            PowerLawSpectralModel,
            SkyModel,
        )

        whole = [MapDataset.read(path) for path in case.paths(options.folder)]
        geom = whole[0].counts.geom
        spatial = PointSpatialModel()
        if case.sigma is not None:
            spatial = GaussianSpatialModel(sigma=u.Quantity(case.sigma))
        model = SkyModel(spectral_model=PowerLawSpectralModel(), spatial_model=spatial)
        self.estimator = TSMapEstimator(model=model, **case.settings, n_jobs=options.jobs)
        self.datasets, self.setup = Datasets(whole), 0.0
        part = case.quick_part if options.quick else case.part
        if part is not None:
            width = part * geom.pixel_scales.to("deg")
            self.setup = self.prepare(Datasets(whole))
            cut = [dataset.cutout(geom.center_skydir, width[::-1]) for dataset in whole]
            self.datasets = Datasets(cut)
        self.about = {"pixels": [int(n) for n in self.datasets[0].counts.geom.data_shape[:0:-1]]}
        self.is_part = part is not None

    def prepare(self, datasets: Any) -> float:
        """Return the seconds of what a run does before it fits the first pixel."""
        estimate = self.estimator.estimate_fit_input_maps
        return timed(lambda: [estimate(dataset) for dataset in datasets])[1]

    def run(self) -> Reply:
        """Run once."""
        (maps, seconds), peak = peak_above_start(
            lambda: timed(lambda: self.estimator.run(self.datasets))
        )
        ts = maps["ts"].data
        reply = {"seconds": seconds, "peak": peak, "fitted": int((ts == ts).sum())}
        if self.is_part:
            reply |= {"setup": self.setup, "setup_part": self.prepare(self.datasets)}
        return reply


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
    parser.add_argument("--quick", action="store_true", help="gammapy on a small part of the map")
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
