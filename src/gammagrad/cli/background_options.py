"""The options of `gammagrad background`, and the estimator they describe."""

from __future__ import annotations

import argparse

import astropy.units as u

from gammagrad.cli.exclude_option import add_exclude_options
from gammagrad.cli.parser import angle, whole
from gammagrad.cli.setting_options import add_setting_options, given_settings
from gammagrad.errors import InputError
from gammagrad.estimators.kernel_background import KernelBackgroundEstimator
from gammagrad.maps import WcsGeom


def add_background_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a background is estimated."""
    kernels = parser.add_argument_group("kernels")
    for name, size, text in (
        ("source-radius", 0.1, "radius of the disc that counts are summed in for the significance"),
        ("ring-radius", 0.5, "inner radius of the ring that the background is averaged over"),
        ("ring-width", 0.3, "width of the ring"),
    ):
        text = f"{text} (default: {size} deg)"
        kernels.add_argument(f"--{name}", type=angle, default=size, metavar="ANGLE", help=text)
    mask = parser.add_argument_group("mask and iterations")
    for name, default, text in (
        ("niter-min", 2, "iterations before the mask is tested for convergence (default: 2)"),
        ("niter-max", 10, "largest number of iterations (default: 10)"),
    ):
        mask.add_argument(f"--{name}", type=whole(), default=default, metavar="N", help=text)
    add_setting_options(parser, KernelBackgroundEstimator, {"mask and iterations": mask})
    parser.set_defaults(
        flags={"kernel_src": "--source-radius", "kernel_bkg": "--ring-radius, --ring-width"}
    )
    start = parser.add_argument_group("acceptance and start")
    start.add_argument(
        "--acceptance",
        metavar="WHAT",
        help="what the background is expected to be proportional to, so that it need not be flat "
        "under the ring: background or exposure (those of the dataset), or a FITS map",
    )
    start.add_argument(
        "--mask",
        metavar="FILE",
        help="bins to use, not zero where they are good, a FITS map (default: those of the "
        "dataset); without it empty borders count as sky without events",
    )
    start.add_argument(
        "--background",
        metavar="FILE",
        help="background to start from, counts per pixel (default: the mean of the counts in the "
        "ring)",
    )
    add_exclude_options(
        start,
        "start with an area excluded; the iterations find it again or not, and keep it for good "
        "with --mask-update grow",
    )


def make_background_estimator(
    args: argparse.Namespace, geom: WcsGeom, keep_record: bool
) -> KernelBackgroundEstimator:
    """Return the estimator that options describe."""
    outer = args.ring_radius + args.ring_width
    given = given_settings(args, KernelBackgroundEstimator)
    estimator = KernelBackgroundEstimator(
        u.Quantity(args.source_radius, "deg"),
        u.Quantity([args.ring_radius, outer], "deg"),
        keep_record=keep_record,
        **given,
    )
    rows, cols = geom.shape_image
    for name, kernel in zip(
        ("source-radius", "ring-radius, --ring-width"), estimator.kernels(geom), strict=True
    ):
        if kernel.shape[0] > rows or kernel.shape[1] > cols:
            size = " x ".join(f"{width:.3g}" for width in geom.width.to_value("deg"))
            raise InputError(
                f"--{name}: expected a kernel that fits in the map of {size} deg, got one of "
                f"{kernel.shape[1]} x {kernel.shape[0]} pixels on {cols} x {rows}."
            )
    return estimator
