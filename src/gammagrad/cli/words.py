"""Errors of the library, which speak of arguments, in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from gammagrad.errors import InputError
from gammagrad.parallel import WorkerError

OPTIONS_OF_SETTINGS: dict[str, str] = {
    "model": "--model",
    "kernel_width": "--kernel-width",
    "kernel_containment": "--kernel-containment",
    "kernel_weighting": "--kernel-weighting",
    "renormalise": "--renormalise",
    "downsampling_factor": "--downsampling-factor",
    "energy_edges": "--energy-edges",
    "sum_over_energy_groups": "--sum-over-energy",
    "selection_optional": "--selection",
    "n_sigma": "--n-sigma",
    "n_sigma_ul": "--n-sigma-ul",
    "n_sigma_sensitivity": "--n-sigma-sensitivity",
    "norm": "--scan-values",
    "norm_min": "--norm-min",
    "gamma_min": "--gamma-min",
    "bkg_syst_fraction": "--bkg-syst-fraction",
    "background_floor": "--background-floor",
    "threshold": "--threshold",
    "rtol": "--rtol",
    "n_jobs": "--jobs",
    "parallel_backend": "--parallel-backend",
    "memory": "--memory",
    "positions": "--around",
}
"""The option of the command line for a setting of the estimator, or an argument of its run."""

# what errors say of Python, in the order of replacement; sentences before single words
_SENTENCES = (
    (r"[Ss]et it: Map\(exposure\.geom.*?from_files\.", 'Say it with --exposure-unit "cm2 s".'),
    (r"renormalise=False", "--no-renormalise"),
    (r"set dataset\.background or dataset\.models", "give a background"),
    (
        r"pass the edges of its energy bins, such as energy_edges=\['1 TeV', '10 TeV'\] for one "
        r"image",
        'pass the edges of its energy bins, such as --energy-bins "1 TeV, 10 TeV"',
    ),
    (r", or slice the dataset afterwards with slice_by_energy", ""),
    (r"leave them out with mask_safe or mask_fit", "leave them out with a mask"),
    (r"mask_safe and mask_fit leave", "the masks leave"),
)
_PARTS = {"psf_sigma": "--psf-sigma", "exposure_unit": "--exposure-unit"}
# words of sentences too: only where an error begins with them, or a value follows
_COMMON = ("model", "norm", "threshold", "positions")


def option_words(message: str, plain: bool = False) -> str:
    """Return an error of the library with options in place of its arguments."""
    for pattern, words in _SENTENCES:
        message = re.sub(pattern, words, message)
    options = {**OPTIONS_OF_SETTINGS, **_PARTS}
    if plain:
        options["energy_edges"] = "--energy-bins"
    for name, option in options.items():
        message = re.sub(rf"(?<![\w.\-]){name}=", f"{option} ", message)
        if name in _COMMON:
            message = re.sub(rf"(?:^|(?<=: )){name}(?= is | are | has |:)", option, message)
        else:
            message = re.sub(rf"(?<![\w.\-]){name}\b", option, message)
    return message


@contextmanager
def speaking_of_options(plain: bool = False) -> Iterator[None]:
    """Let errors inside speak of options."""
    try:
        yield
    except (ValueError, WorkerError) as error:
        raise InputError(option_words(str(error), plain)) from error
