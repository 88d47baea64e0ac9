"""Maps of excess and significance with a correlation radius, after Li and Ma."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad._programs import by_element, compiled
from gammagrad._upper import ours
from gammagrad.core.stats import lima_significance, lima_significance_known_background
from gammagrad.dataset import AnyMapDataset, MapDataset, MapDatasetOnOff
from gammagrad.errors import InputError, InputTypeError
from gammagrad.maps import (
    Map,
    WcsGeom,
    cut_to,
    disc_kernel,
    disc_sum,
    on_sky,
    warn_if_uneven,
    without_count_units,
)

Floats = NDArray[np.float64]


_known = compiled(lima_significance_known_background)
_on_off = compiled(lima_significance)


def lima_maps(
    counts: Map | AnyMapDataset,
    background: Map | None = None,
    correlation_radius: Any = "0.1 deg",
    *,
    mask: Map | None = None,
    counts_off: Map | None = None,
    acceptance: Map | float | None = None,
    acceptance_off: Map | float | None = None,
    correlate_off: bool = False,
    sum_over_energy: bool = False,
) -> dict[str, Map]:
    """Return counts, background, excess and significance within a radius of every pixel.

    The background is either known exactly, or measured in OFF regions with an error.

    Parameters
    ----------
    counts
        Counts per pixel, an image or a cube; or a dataset, whose predicted counts are the
        background, or whose OFF counts and acceptances are taken, and its mask, each unless given.
    background
        Expected background counts per pixel.
    correlation_radius
        Radius of the disc that maps are summed over: an angle (a number is in deg), or a number of
        pixels as a quantity, such as ``"3 pix"``. The disc has the pixels whose centre is not
        farther away.
    mask
        Bins to use, true where they are good; an image applies to every energy. Other bins, and
        bins with values that are not finite, contribute neither counts nor background, and their
        pixels get NaN. Do not pass an exclusion mask here: it would hide the sources.
    counts_off
        Instead of `background`: counts in OFF regions. Without `correlate_off` the value of a pixel
        is the counts in the OFF region *of that pixel*, such as a ring around it. OFF regions of
        neighbouring pixels then share counts, which must not be summed over the disc again: the
        value at the centre of the disc is used.
    acceptance, acceptance_off
        Expected background, on any scale, in the pixel and in its OFF region: maps or numbers. The
        background of a pixel is ``counts_off * acceptance / acceptance_off``.
    correlate_off
        Whether `counts_off` of different pixels are different events, such as in an observation of
        an empty field, to be summed over the disc like the counts. Pixels with an `acceptance_off`
        of 0 are then not used.
    sum_over_energy
        Sum over energies before the significance is computed; by default each energy bin has its
        own image.

    Returns
    -------
    dict of str to Map
        "counts", "background" and "excess" (their difference), summed over the disc, and "sqrt_ts",
        the significance in standard deviations with the sign of the excess; with OFF counts also
        "counts_off" and "alpha", the ratio of background and OFF counts. All NaN outside of the
        mask. The significance is infinite for counts on no background, and 0 where there is
        neither. Where nothing is known of the OFF region (its acceptance is 0) the background,
        excess, significance and alpha are NaN.

    Raises
    ------
    ValueError
        If there is no background or two of them, a map has another geometry or a wrong unit,
        values are negative, or the radius cannot be converted to pixels.
    TypeError
        If something is not a map.

    Warns
    -----
    SolidAngleWarning
        If the disc, which is the same pixels everywhere, is another part of the sky elsewhere than
        in the middle of the map.

    Notes
    -----
    A map that is larger than the counts and aligned with them is cut out.

    Outside of the map there is nothing: a disc that reaches beyond has fewer counts and less
    background, and its significance is that of the part on the map.

    Sums are made by additions alone, without a Fourier transform, so that whole numbers stay
    whole, and a place without background has none.

    With OFF counts, a sum over energies takes one alpha, that of the summed background, as if it
    were the same at all energies.

    gammapy's ``ExcessMapEstimator`` gives the same numbers for a known background, and for OFF
    counts with the same `correlate_off`, which is True by default there. (It sums OFF counts over
    energies before it computes a background, which here follows from each energy's own.)

    References
    ----------
    Li and Ma (1983), ApJ 272, 317, equation 17, and its limit for a known background.

    Examples
    --------
    >>> from gammagrad import Map, lima_maps
    >>> counts = Map.create(npix=50, binsz=0.02, proj="TAN")
    >>> background = counts.copy()
    >>> background.data += 0.5
    >>> counts.data[25, 25] = 30
    >>> maps = lima_maps(counts, background, "0.06 deg")
    >>> values = {name: float(m.data[25, 25]) for name, m in maps.items()}
    >>> print(values["counts"], values["background"], round(values["sqrt_ts"], 3))
    30.0 14.5 3.553
    """
    counts, background, mask = (ours(m) for m in (counts, background, mask))
    counts_off, acceptance, acceptance_off = map(ours, (counts_off, acceptance, acceptance_off))
    if isinstance(counts, MapDataset | MapDatasetOnOff):
        given_maps = {
            "background": background,
            "mask": mask,
            "counts_off": counts_off,
            "acceptance": acceptance,
            "acceptance_off": acceptance_off,
        }
        parts = _parts_of(counts, given_maps)
        return lima_maps(
            correlation_radius=correlation_radius,
            correlate_off=correlate_off,
            sum_over_energy=sum_over_energy,
            **parts,
        )
    geom = _checked_geom(counts)
    if (background is None) == (counts_off is None):
        raise InputError(
            "expected background (known), or counts_off with acceptance and acceptance_off; got "
            + ("neither." if background is None else "both.")
        )
    known = background is not None
    off = {"acceptance": acceptance, "acceptance_off": acceptance_off}
    if known != (acceptance is None) or known != (acceptance_off is None):
        raise InputError(
            "acceptance, acceptance_off: expected both with counts_off, maps or numbers (such as "
            "1 and 10 for an OFF region of ten times the exposure), and none with background."
        )
    given = {"background": background} if known else {"counts_off": counts_off} | _one_unit(off)
    values = {name: _values(m, name, geom) for name, m in {"counts": counts, **given}.items()}
    use = _used(values, geom, mask, correlate_off)
    warn_if_uneven(geom, "area")
    disc = disc_kernel(geom, correlation_radius)
    sums = _sums({name: np.where(use, v, 0.0) for name, v in values.items()}, disc, correlate_off)
    if sum_over_energy and not geom.is_image:
        axes = tuple(range(counts.data.ndim - 2))
        sums = {name: v.sum(axis=axes, keepdims=True) for name, v in sums.items()}
        use = np.asarray(use.any(axis=axes, keepdims=True))
        for name in geom.axes.names:
            geom = geom.squash(name)
    meta = {"correlation_radius": str(correlation_radius)}
    data = _significances(sums)
    return {name: Map(geom, np.where(use, v, np.nan), meta=meta) for name, v in data.items()}


def _parts_of(dataset: AnyMapDataset, given: dict[str, Any]) -> dict[str, Any]:
    """Return the maps of a dataset, with maps that were given in their place."""
    parts = {"counts": dataset.require("counts"), "mask": dataset.mask}
    off = ("counts_off", "acceptance", "acceptance_off")
    given = {name: m for name, m in given.items() if m is not None}
    if not given.keys() & {"background", *off}:
        if isinstance(dataset, MapDatasetOnOff):
            parts |= {name: dataset.require(name) for name in off}
        else:
            dataset.require("background")
            parts["background"] = dataset.npred()
    return parts | given


def _checked_geom(counts: Any) -> WcsGeom:
    if not isinstance(counts, Map):
        raise InputTypeError(f": expected a Map, got a {type(counts).__name__}.", "counts")
    if not isinstance(counts.geom, WcsGeom):
        raise InputError(": expected a map with pixels on the sky.", "counts")
    return counts.geom


def _one_unit(maps: dict[str, Any]) -> dict[str, Any]:
    """Return two acceptances in the unit of the first; numbers have none."""
    first, second = maps.values()
    if isinstance(first, Map) and isinstance(second, Map):
        second = second.to_unit(first.unit)
    return dict(zip(maps, (first, second), strict=True))


def _values(m: Any, name: str, geom: WcsGeom) -> Floats:
    """Return the values of a map, or one number, on every bin, after checking them."""
    is_acceptance = name.startswith("acceptance")
    if is_acceptance and isinstance(m, int | float | np.number):
        data = np.asarray(m, dtype=float)
    elif isinstance(m, Map):
        m = cut_to(m, geom, name)
        is_image = is_acceptance and m.geom == geom.to_image()
        if not is_image and (difference := geom.difference(m.geom)):
            raise InputError(f": expected the geometry of counts, but {difference}.", name)
        if not is_acceptance and without_count_units(m.unit) != u.dimensionless_unscaled:
            raise InputError(f": expected counts per pixel, got a map in {m.unit}.", name)
        data = m.data.astype(float)
    else:
        raise InputTypeError(f": expected a Map, got a {type(m).__name__}.", name)
    if np.any(data < 0):
        raise InputError(f": expected numbers >= 0, got {np.nanmin(data)}.", name)
    return np.broadcast_to(data, geom.data_shape)


def _used(
    values: dict[str, Floats], geom: WcsGeom, mask: Map | None, correlate_off: bool
) -> NDArray[np.bool_]:
    """Return the bins to use."""
    use = np.logical_and.reduce([np.isfinite(v) for v in values.values()]) & on_sky(geom)
    if correlate_off and "counts_off" in values:
        # a background that is not known, inside of a disc, would be missing in its sum
        use &= (values["acceptance_off"] > 0) | (values["acceptance"] == 0)
    if mask is None:
        return np.asarray(use)
    if not isinstance(mask, Map):
        raise InputTypeError(f": expected a Map, got a {type(mask).__name__}.", "mask")
    mask = cut_to(mask, geom, "mask")
    if mask.geom != geom.to_image() and (difference := geom.difference(mask.geom)):
        raise InputError(f": expected the geometry of counts, but {difference}.", "mask")
    return np.asarray(use & mask.data.astype(bool) & np.isfinite(mask.data))


def _sums(values: dict[str, Floats], disc: Floats, correlate_off: bool) -> dict[str, Floats]:
    """Return the sums over the disc by name, and the background that belongs to OFF counts."""
    n_on = disc_sum(values["counts"], disc)
    if "background" in values:
        return {"counts": n_on, "background": disc_sum(values["background"], disc)}
    n_off, a_on, a_off = (values[n] for n in ("counts_off", "acceptance", "acceptance_off"))
    if correlate_off:
        ratio = np.divide(a_on, a_off, out=np.zeros_like(a_on), where=a_off > 0)
        background, n_off, a_on, a_off = (
            disc_sum(part, disc) for part in (ratio * n_off, n_off, a_on, a_off)
        )
    else:
        a_on = disc_sum(a_on, disc)
        # without acceptance there is no background, whatever the OFF region
        ratio = np.where(a_on > 0, np.nan, 0.0)
        np.divide(a_on, a_off, out=ratio, where=a_off > 0)
        background = ratio * n_off
    off = {"counts_off": n_off, "acceptance": a_on, "acceptance_off": a_off}
    return {"counts": n_on, "background": background, **off}


def _significances(sums: dict[str, Floats]) -> dict[str, Floats]:
    """Return all that follows from the sums, in float64 whatever the user's precision."""
    n_on, background = sums["counts"], sums["background"]
    found = {"counts": n_on, "background": background, "excess": n_on - background}
    if "counts_off" not in sums:
        with jax.enable_x64(True):
            return found | {"sqrt_ts": by_element(_known, n_on, background)}
    n_off, a_on, a_off = (sums[name] for name in ("counts_off", "acceptance", "acceptance_off"))
    alpha = np.full_like(n_on, np.nan)
    np.divide(a_on, a_off, out=alpha, where=a_off > 0)
    np.divide(background, n_off, out=alpha, where=n_off > 0)
    alpha[a_on == 0] = 0.0
    with jax.enable_x64(True):
        on_off = by_element(_on_off, n_on, n_off, alpha)
        no_background = by_element(_known, n_on, np.zeros_like(n_on))
    sqrt_ts = np.where(alpha == 0, no_background, on_off)
    return found | {"sqrt_ts": sqrt_ts, "counts_off": n_off, "alpha": alpha}
