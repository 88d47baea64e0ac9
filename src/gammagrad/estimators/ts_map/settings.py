"""The table of the settings of `TSMapEstimator`."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any

import astropy.units as u

from gammagrad.core.norm import BACKGROUNDS, PRIORS
from gammagrad.core.ts_map import BACKGROUND_NORMS, KERNEL_WEIGHTINGS
from gammagrad.estimators.settings import (
    Alias,
    Estimator,
    Option,
    Setting,
    estimator,
    flag,
    number,
    one_of,
)
from gammagrad.estimators.ts_map import checks
from gammagrad.estimators.ts_map.free_index import check_free, read_free
from gammagrad.estimators.ts_map.scan_norms import plain_scan, read_scan
from gammagrad.evaluate import SAMPLINGS
from gammagrad.models import Models, SkyModel
from gammagrad.parallel import BACKENDS, check_backend, check_n_jobs, requested_jobs

# the groups of options on the command line
_SOURCE, _DATA, _BACKGROUND, _OUTPUT, _PROCESSES = (
    *("source and kernel", "what is fitted", "norm of the background"),
    *("errors, limits, sensitivity", "processes"),
)

_positive = number("a positive number", lambda x: x > 0)
_not_negative = number("a number of at least 0 (0 switches it off)", lambda x: x >= 0)


@estimator
class TSMapSettings(Estimator):
    """The settings of `TSMapEstimator`: default, check, what it is, option of the command line."""

    model: Setting[SkyModel | Models] = Setting(
        None,
        checks.model,
        "shape and spectrum of the source to test (default: a point source with index 2)",
        may_be_none=True,
        fill=lambda value: value or checks.default_model(),
        plain=checks.model_names,
    )
    kernel_width: Setting[u.Quantity | None] = Setting(
        None,
        checks.kernel_width,
        'full width of the kernel, such as "1 deg" (default: 99.9 % of the source)',
        option=Option("--kernel-width", _SOURCE, "ANGLE", "'1 deg'"),
        unit="deg",
        may_be_none=True,
        excludes="kernel_containment",
    )
    downsampling_factor: Setting[int | None] = Setting(
        None,
        checks.downsampling,
        "fit on pixels merged N by N, an even number, and interpolate (default: every pixel)",
        option=Option("--downsampling-factor", _DATA, "N", "2", read=int),
        unit="pixels",
        may_be_none=True,
    )
    n_sigma: Setting[float] = Setting(
        1,
        _positive,
        "standard deviations of the errors (default: 1)",
        option=Option("--n-sigma", _OUTPUT, "N", "1", read=float),
    )
    n_sigma_ul: Setting[float] = Setting(
        2,
        _positive,
        "standard deviations of the upper limits (default: 2, which is 97.7 % one-sided; 1.645 is "
        "95 %)",
        option=Option("--n-sigma-ul", _OUTPUT, "N", "2", read=float, needs="ul"),
    )
    threshold: Setting[float | None] = Setting(
        None,
        number("a number, or None to fit every pixel", lambda x: True),
        "keep the matched filter's guess where its TS is below this (default: fit everywhere)",
        option=Option("--threshold", _DATA, "TS", "4", read=float),
        may_be_none=True,
    )
    rtol: Setting[float] = Setting(
        0.01,
        _positive,
        "last step, in errors, above which a fit counts as not converged (default: 0.01)",
        option=Option("--rtol", _DATA, "R", "0.01", read=float),
    )
    selection_optional: Setting[list[str]] = Setting(
        None,
        checks.selection,
        "further maps: errn-errp (errors down and up), ul (upper limits), stat_scan (likelihood "
        'profiles), sensitivity; several as "ul, errn-errp", or all (default: none)',
        option=Option("--selection", _OUTPUT, "MAPS", "ul, errn-errp", read=checks.read_selection),
    )
    energy_edges: Setting[u.Quantity | str | None] = Setting(
        None,
        checks.energy_edges,
        'energy groups, such as "10 GeV, 50 GeV, 500 GeV", moved to the edges of the data; all: a '
        "map for each bin (default: one group)",
        option=Option("--energy-edges", _DATA, "EDGES", "'10 GeV, 500 GeV', or all"),
        unit="TeV",
        may_be_none=True,
    )
    sum_over_energy_groups: Setting[bool] = Setting(
        True,
        flag,
        "fit one image per group, summed over its energies, instead of the cube",
        option=Option("--sum-over-energy", _DATA),
    )
    n_jobs: Setting[int] = Setting(
        None,
        check_n_jobs,
        "number of processes that share the fit (default: 1, which uses every core)",
        option=Option("--jobs", _PROCESSES, "N", "2", read=int),
        may_be_none=True,
        fill=lambda value: requested_jobs(n_jobs=value).n_jobs,
    )
    parallel_backend: Setting[str] = Setting(
        None,
        check_backend,
        "where they run: on this machine (multiprocessing, the default), or on a cluster of ray",
        option=Option("--parallel-backend", _PROCESSES),
        values=BACKENDS,
        may_be_none=True,
        fill=lambda value: requested_jobs(backend=value).backend,
    )
    norm: Setting[Any] = Setting(
        None,
        checks.scan,
        'norms of the likelihood profiles, such as "0, 0.5, 1" (default: 195 from -100 to 100, '
        "close to each other about 0)",
        option=Option(
            "--scan-values", _OUTPUT, "NORMS", "'0, 0.5, 1'", read=read_scan, needs="stat_scan"
        ),
        may_be_none=True,
        plain=plain_scan,
    )
    max_niter: Setting[int] = Setting(
        100,
        checks.max_niter,
        "most Newton sweeps; eight suffice (default: 100)",
    )
    _: KW_ONLY
    free: Setting[tuple[str, ...]] = Setting(
        ("norm",),
        check_free,
        "what is fitted at every pixel: norm (default), or index, which is norm and index, to the "
        "energies of each group",
        option=Option("--free", _DATA, "WHAT", "index", read=read_free),
        plain=list,
    )
    n_sigma_sensitivity: Setting[float] = Setting(
        5,
        _positive,
        "significance that the sensitivity is for (default: 5)",
        option=Option("--n-sigma-sensitivity", _OUTPUT, "N", "5", read=float, needs="sensitivity"),
    )
    norm_min: Setting[float | None] = Setting(
        None,
        number(
            "None (limits start at the fit, however negative) or 0 (limits are never negative)",
            lambda x: x == 0,
        ),
        "0: limits start at a best fit of at least 0, and are never negative (default: at the "
        "best fit, which may be negative)",
        option=Option("--norm-min", _OUTPUT, "NORM", "0", read=float, needs="ul"),
        may_be_none=True,
    )
    gamma_min: Setting[float] = Setting(
        0,
        _not_negative,
        "least number of source counts that the sensitivity asks for (default: 0)",
        option=Option("--gamma-min", _OUTPUT, "COUNTS", "10", read=float, needs="sensitivity"),
        unit="counts",
    )
    bkg_syst_fraction: Setting[float] = Setting(
        0,
        _not_negative,
        "fraction of the background that the sensitivity takes to be uncertain (default: 0)",
        option=Option(
            "--bkg-syst-fraction", _OUTPUT, "FRACTION", "0.05", read=float, needs="sensitivity"
        ),
    )
    background_floor: Setting[float | None] = Setting(
        None,
        number("a positive number of counts, or None", lambda x: x > 0),
        "raise the background of every bin to at least this many counts (default: leave it)",
        option=Option("--background-floor", _DATA, "B", "1e-6", read=float),
        unit="counts",
        may_be_none=True,
    )
    kernel_containment: Setting[float | None] = Setting(
        None,
        number(
            "a fraction between 0 and 1 such as 0.95, or None for the width alone",
            lambda x: 0 < x < 1,
        ),
        "fraction of a source that the kernel is to hold, such as 0.95, in place of its width",
        option=Option("--kernel-containment", _SOURCE, "FRACTION", "0.95", read=float),
        may_be_none=True,
        excludes="kernel_width",
    )
    renormalise: Setting[bool] = Setting(
        True,
        flag,
        "give a kernel that is cut off the sum 1, as gammapy does: fluxes are low by what is cut "
        "off (default); otherwise they are right",
        option=Option("--renormalise", _SOURCE),
    )
    kernel_weighting: Setting[str] = Setting(
        "counts",
        one_of(KERNEL_WEIGHTINGS),
        "how kernels are averaged when summing: by expected counts (default), or equally",
        option=Option("--kernel-weighting", _SOURCE),
        values=KERNEL_WEIGHTINGS,
    )
    kernel_sampling: Setting[str] = Setting(
        "fine",
        one_of(SAMPLINGS),
        "how models are integrated over pixels: accurately (default), or as gammapy 2.1 does",
        values=SAMPLINGS,
    )
    kernel_positions: Setting[str | int] = Setting(
        "auto",
        checks.kernel_positions,
        "kernels by position: auto (default: one where that is right to 0.1 %), centre (one, as "
        "gammapy), map, or how many positions to compare",
        option=Option(
            "--kernel-positions", _SOURCE, "HOW", "centre", read=checks.read_kernel_positions
        ),
    )
    background: Setting[str] = Setting(
        "fixed",
        one_of(BACKGROUNDS),
        "whether the background is known (default), or has a norm that is fitted too: free, or "
        "constrained by --background-uncertainty",
        # --background is a file with a map
        option=Option("--background-norm", _BACKGROUND, dest="background_norm"),
        values=BACKGROUNDS,
    )
    background_uncertainty: Setting[Any] = Setting(
        0.05,
        checks.background_uncertainty,
        "relative uncertainty of a constrained background, or one for each energy group "
        "(default: 0.05)",
        option=Option(
            "--background-uncertainty",
            _BACKGROUND,
            "SIGMA",
            "0.05",
            read=checks.read_uncertainty,
        ),
        plain=checks.plain_uncertainty,
    )
    background_prior: Setting[str] = Setting(
        "gamma",
        one_of(PRIORS),
        "what is known of a constrained background: gamma, as from counts (default), or gaussian",
        option=Option("--background-prior", _BACKGROUND),
        values=PRIORS,
    )
    background_width: Setting[u.Quantity | None] = Setting(
        None,
        checks.kernel_width,
        'full width of the window for the norm of the background, such as "3 deg" (default: three '
        "times the kernel's)",
        option=Option("--background-width", _BACKGROUND, "ANGLE", "'3 deg'"),
        unit="deg",
        may_be_none=True,
    )
    background_norms: Setting[str] = Setting(
        "one",
        one_of(BACKGROUND_NORMS),
        "one norm of the background for all (default), one for each dataset, or one for each "
        "energy bin of each dataset",
        option=Option("--background-norms", _BACKGROUND),
        values=BACKGROUND_NORMS,
    )
    memory: Setting[int | None] = Setting(
        None,
        checks.memory,
        'working memory of the fit, such as "500 MB" (default: 256 MB on a processor)',
        option=Option("--memory", _PROCESSES, "M", "500 MB"),
        unit="bytes",
        may_be_none=True,
    )
    kernel_model: Alias = Alias("model")
    show_progress: Setting[bool | None] = Setting(
        None, flag, "show a progress bar (default: on a terminal)", may_be_none=True, in_files=False
    )
