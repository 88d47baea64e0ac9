"""Slow, plain twins of the fast code: loops and bisection, nothing shared with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import mpmath
import numpy as np
import scipy.ndimage
import scipy.optimize
import scipy.signal
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FLOOR = 1e-25


class SlowFit(NamedTuple):
    """A norm fit by bisection."""

    norm: float
    norm_err: float
    ts: float
    stat: float
    stat_null: float
    npred: float


def slow_cash(counts: Floats, npred: Floats) -> float:
    """Cash statistic of some bins, term by term."""
    total = 0.0
    for n, mu in zip(np.ravel(counts), np.ravel(npred), strict=True):
        total += 2 * mu
        if n > 0:
            total -= 2 * n * math.log(max(mu, FLOOR))
    return total


def slow_fit(counts: Floats, background: Floats, model: Floats) -> SlowFit:
    """Fit one norm by bisection of the statistic's derivative, down from the physical bound."""
    n, b, m = (np.ravel(a).astype(float) for a in (counts, background, model))
    reached = m > 0
    bound = -np.min(b[reached] / m[reached])
    seen = reached & (n > 0)
    ratio = np.maximum(b[seen], FLOOR) / m[seen]
    total = m.sum()

    def slope(x: float) -> float:
        return total - float(np.sum(n[seen] / (x + ratio)))

    low, high = bound, max(1.0, 2 * n.sum() / total)
    with np.errstate(divide="ignore"):
        if not seen.any() or slope(low) >= 0:
            norm = bound
        else:
            while slope(high) < 0:
                high *= 2
            for _ in range(300):
                middle = 0.5 * (low + high)
                low, high = (middle, high) if slope(middle) < 0 else (low, middle)
            norm = 0.5 * (low + high)
        s2 = float(np.sum(n[seen] / (norm + ratio) ** 2))
    gain = sum(
        ni * math.log1p(max(norm * mi / max(bi, FLOOR), -1 + 1e-16))
        for ni, bi, mi in zip(n[seen], b[seen], m[seen], strict=True)
    )
    ts = max(2 * (gain - norm * total), 0.0)
    null = slow_cash(n, b)
    return SlowFit(
        norm=norm,
        norm_err=math.inf if s2 == 0 else 1 / math.sqrt(s2),
        ts=math.copysign(ts, norm),
        stat=null - ts,
        stat_null=null,
        npred=float(b.sum() + norm * total),
    )


def windows_at(
    cubes: list[Floats], kernel: Floats, row: int, col: int
) -> tuple[list[Floats], Floats]:
    """Cut the kernel's window around a pixel out of some cubes; zeros outside the map."""
    half_y, half_x = kernel.shape[-2] // 2, kernel.shape[-1] // 2
    pads = ((0, 0), (half_y, half_y), (half_x, half_x))
    cuts = [
        np.pad(c, pads)[:, row : row + kernel.shape[-2], col : col + kernel.shape[-1]]
        for c in cubes
    ]
    return cuts, kernel


def slow_ts_map(
    counts: Floats,
    background: Floats,
    exposure: Floats,
    kernel: Floats,
    weights: Floats,
    mode: str = "cube",
) -> dict[str, Floats]:
    """Fit every pixel in a loop; mode "cube", "counts" or "equal" (summed images)."""
    fits = []
    used = weights > 0
    masked = [np.where(used, weights * a, 0.0) for a in (counts, background, exposure)]
    for row in range(counts.shape[1]):
        for col in range(counts.shape[2]):
            (n, b, e, w), k = windows_at([*masked, weights], kernel, row, col)
            model = k * e
            if mode == "counts":
                n, b, model = (a.sum(axis=0) for a in (n, b, model))
            elif mode == "equal":
                total = w.sum(axis=0)
                mean = np.divide(
                    (k * w).sum(axis=0), total, out=np.zeros_like(total), where=total > 0
                )
                n, b, model = n.sum(axis=0), b.sum(axis=0), mean * e.sum(axis=0)
            fits.append(slow_fit(n, b, model))
    shape = counts.shape[1:]
    return {
        name: np.array([getattr(f, name) for f in fits]).reshape(shape) for name in SlowFit._fields
    }


class SlowProfile(NamedTuple):
    """Errors, limits and sensitivity by bisection of the profile, and a scan of it."""

    norm_errp: float
    norm_errn: float
    norm_ul: float
    norm_sensitivity: float
    stat_scan: Floats


def slow_rise(counts: Floats, background: Floats, model: Floats, base: float, norm: float) -> float:
    """Cash statistic at a norm less that at a base norm, bin by bin; infinite if one is empty."""
    total = 0.0
    for n, b, m in zip(
        *(np.ravel(a).astype(float) for a in (counts, background, model)), strict=True
    ):
        if m <= 0:
            continue
        total += 2 * (norm - base) * m
        if n > 0:
            b = max(b, FLOOR)
            step = (norm - base) * m / (b + base * m)
            if step <= -1:
                return math.inf
            total -= 2 * n * math.log1p(step)
    return total


def bisect(function: Callable[[float], float], low: float, high: float) -> float:
    """Root of a function that is negative at `low` and positive at `high`."""
    for _ in range(400):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return 0.5 * (low + high)


def slow_asimov(background: Floats, model: Floats, norm: float) -> float:
    """Test statistic of a source whose counts are exactly those expected."""
    total = 0.0
    for b, m in zip(np.ravel(background), np.ravel(model), strict=True):
        b = max(float(b), FLOOR)
        z = norm * float(m) / b
        total += 2 * b * ((1 + z) * math.log1p(z) - z)
    return total


def slow_profile(
    counts: Floats,
    background: Floats,
    model: Floats,
    *,
    n_sigma: float = 1.0,
    n_sigma_ul: float = 2.0,
    n_sigma_sensitivity: float = 5.0,
    norm_min: float = -math.inf,
    scan_values: Floats | None = None,
) -> SlowProfile:
    """Follow the profile of one pixel by bisection."""
    data = tuple(np.ravel(a).astype(float) for a in (counts, background, model))
    fit = slow_fit(*data)
    _, b, m = data
    bound = -float(np.min(b[m > 0] / m[m > 0]))

    def end(base: float, target: float) -> float:
        reach = max(1.0, abs(base))
        while slow_rise(*data, base, base + reach) < target:
            reach *= 2
        return bisect(lambda x: slow_rise(*data, base, x) - target, base, base + reach)

    at_bound = slow_rise(*data, fit.norm, bound)
    lower = bound
    if at_bound > n_sigma**2:
        lower = -bisect(lambda x: slow_rise(*data, fit.norm, -x) - n_sigma**2, -fit.norm, -bound)
    high = 1.0
    while slow_asimov(b, m, high) < n_sigma_sensitivity**2:
        high *= 2
    values = np.array([]) if scan_values is None else np.asarray(scan_values, float)
    scan = [math.inf if x < bound else slow_rise(*data, 0.0, float(x)) for x in values]
    return SlowProfile(
        norm_errp=end(fit.norm, n_sigma**2) - fit.norm,
        norm_errn=fit.norm - lower,
        norm_ul=end(max(fit.norm, norm_min), n_sigma_ul**2),
        norm_sensitivity=bisect(lambda x: slow_asimov(b, m, x) - n_sigma_sensitivity**2, 0.0, high),
        stat_scan=np.array(scan),
    )


def slow_source_bins(
    counts: Floats,
    background: Floats,
    exposure: Floats,
    kernel: Floats,
    weights: Floats,
    blend: Floats,
    pixel: tuple[int, int],
    mode: str = "cube",
) -> list[tuple[float, float, float]]:
    """Counts, background and model of a source at a pixel, bin by bin of its window."""
    (n_energies, ny, nx), (row, col) = counts.shape, pixel
    basis, _, ky, kx = kernel.shape
    bins = []
    for i in range(ky):
        for j in range(kx):
            y, x = row + i - ky // 2, col + j - kx // 2
            if not (0 <= y < ny and 0 <= x < nx):
                continue
            here = []
            for e in range(n_energies):
                w = float(weights[e, y, x])
                shape = sum(float(blend[k, row, col] * kernel[k, e, i, j]) for k in range(basis))
                shape = max(shape, 0.0)
                n, b = (w * float(a[e, y, x]) if w > 0 else 0.0 for a in (counts, background))
                here.append((n, b, w, shape, float(exposure[e, row, col])))
            if mode == "cube":
                bins += [(n, b, w * shape * amount) for n, b, w, shape, amount in here]
                continue
            n, b, total = (sum(one[index] for one in here) for index in (0, 1, 2))
            model = sum(w * shape * amount for _, _, w, shape, amount in here)
            if mode == "equal":
                mean = sum(w * shape for _, _, w, shape, _ in here) / (total or 1.0)
                model = mean * sum(w * amount for _, _, w, _, amount in here)
            bins.append((n, b, model))
    return bins


def slow_placed_bins(
    counts: Floats,
    background: Floats,
    weight: Floats,
    kernel: Floats,
    amplitude: Floats,
    blend: Floats,
    places: tuple[NDArray[np.int_], NDArray[np.int_], NDArray[np.int_]],
    pixel: tuple[int, int],
) -> list[tuple[float, float, float]]:
    """Counts, background and model of a source at a pixel, on a dataset's own grid of bins."""
    images, ny, nx = counts.shape
    basis, ky, kx = kernel.shape[2:]
    row, col, phase = (int(a[pixel]) for a in places)
    bins = []
    for i in range(images):
        for y in range(max(row - ky // 2, 0), min(row + ky // 2 + 1, ny)):
            for x in range(max(col - kx // 2, 0), min(col + kx // 2 + 1, nx)):
                own = kernel[phase, i, :, y - row + ky // 2, x - col + kx // 2]
                shape = sum(float(blend[k][pixel]) * float(own[k]) for k in range(basis))
                model = float(amplitude[i][pixel]) * max(shape, 0.0) * float(weight[i, y, x])
                bins.append((float(counts[i, y, x]), float(background[i, y, x]), model))
    return bins


class SlowPosition(NamedTuple):
    """Fit and profile of a source at one position; NaN where it predicts nothing."""

    norm: float
    norm_err: float
    ts: float
    stat: float
    stat_null: float
    npred: float
    norm_errp: float
    norm_errn: float
    norm_ul: float
    norm_sensitivity: float
    bound: float


def slow_positions(
    bins_at: Callable[[tuple[int, int]], list[tuple[float, float, float]]],
    shape: tuple[int, int],
    scan_values: Floats,
) -> tuple[dict[str, Floats], Floats]:
    """Fit every position of a map in a loop; return maps, and the scan with its norms in front."""
    maps = {name: np.full(shape, np.nan) for name in SlowPosition._fields}
    scan = np.full((scan_values.size, *shape), np.nan)
    for row in range(shape[0]):
        for col in range(shape[1]):
            bins = np.array(bins_at((row, col))).reshape(-1, 3)
            n, b, m = bins.T
            if m.sum() <= 0:
                continue
            fit, profile = slow_fit(n, b, m), slow_profile(n, b, m, scan_values=scan_values)
            bound = -min(bi / mi for bi, mi in zip(b, m, strict=True) if mi > 0)
            found = SlowPosition(*fit, *profile[:4], bound)
            for name, value in found._asdict().items():
                maps[name][row, col] = value
            scan[:, row, col] = profile.stat_scan
    return maps, scan


class SlowIteration(NamedTuple):
    """State of the background loop after some iterations."""

    background: Floats
    exclusion: NDArray[np.bool_]
    significance: Floats
    kept: NDArray[np.bool_]


class SlowLoop(NamedTuple):
    """The whole run of the background loop, its start first."""

    iterations: list[SlowIteration]
    converged: bool
    period: int


def slow_convolve(image: Floats, kernel: Floats) -> Floats:
    """Convolve with zeros outside by sums: whole numbers stay exact, and zeros stay zero."""
    (ny, nx), (ky, kx) = image.shape, kernel.shape
    full = scipy.signal.convolve2d(image, kernel)
    return full[(ky - 1) // 2 :, (kx - 1) // 2 :][:ny, :nx]


def slow_lima(n: Floats, mu: Floats) -> Floats:
    """Significance over a known background, as printed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        deviance = 2 * (np.where(n > 0, n * np.log(n / mu), 0) - n + mu)
    return np.where((n == 0) & (mu == 0), 0, np.sign(n - mu) * np.sqrt(np.maximum(deviance, 0)))


def slow_flood(seeds: NDArray[np.bool_], region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Parts of a region, connected over corners too, that hold a seed."""
    labels, _ = scipy.ndimage.label(region | seeds, np.ones((3, 3)))
    return np.isin(labels, np.unique(labels[seeds])) & (labels > 0)


def slow_kernel_background(
    counts: Floats,
    source: Floats,
    ring: Floats,
    background: Floats | None = None,
    exclusion: NDArray[np.bool_] | None = None,
    significance_threshold: float = 5.0,
    dilation_structure: NDArray[np.bool_] | None = None,
    niter_min: int = 2,
    niter_max: int = 10,
    *,
    acceptance: Floats | None = None,
    threshold_low: float | None = None,
    mask_update: str = "replace",
    significance: str = "lima",
) -> SlowLoop:
    """Run the documented background loop step by step, and remember every state."""
    seen = np.isfinite(counts)
    n = np.where(seen, counts, 0.0).astype(float)
    relative = np.ones(n.shape) if acceptance is None else np.nan_to_num(acceptance)
    source = source / source.max()

    def ring_mean(mask: NDArray[np.bool_], otherwise: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        keep = mask & seen
        holds = slow_convolve((keep & (relative > 0)).astype(int), (ring > 0).astype(int))
        total = slow_convolve(np.where(keep, relative, 0), ring)
        mean = slow_convolve(np.where(keep, n, 0), ring) / np.where(holds > 0, total, 1)
        found = np.where(holds > 0, relative * mean, otherwise)
        return np.where(relative > 0, found, 0), (holds == 0) & (relative > 0)

    def significance_over(level: Floats) -> Floats:
        if significance == "lima":
            return slow_lima(slow_convolve(n, source), slow_convolve(level * seen, source))
        fits = slow_ts_map(n[None], level[None], np.ones((1, *n.shape)), source[None], seen[None])
        return np.sign(fits["ts"]) * np.sqrt(np.abs(fits["ts"]))

    everything = np.ones(n.shape, bool)
    mask = everything if exclusion is None else np.asarray(exclusion, bool)
    level = relative * n.sum() / (relative * seen).sum()
    level = ring_mean(everything, level)[0]
    level, kept = ring_mean(mask, level)
    if background is not None:
        level = np.where(np.isfinite(background), background, level)
    states = [SlowIteration(level, mask, significance_over(level), kept)]
    converged, period = False, 0
    for idx in range(niter_max):
        found = significance_over(level)
        out = found >= significance_threshold
        if threshold_low is not None:
            out = slow_flood(out, found >= threshold_low)
        if dilation_structure is not None:
            out = ~scipy.ndimage.binary_erosion(~out, dilation_structure, border_value=1)
        last, mask = mask, ~out & mask if mask_update == "grow" else ~out
        level, kept = ring_mean(mask, level)
        for age, old in enumerate(reversed(states[1:]), 1):
            same_background = np.array_equal(level[kept], old.background[kept])
            if np.array_equal(mask, old.exclusion) and same_background:
                period = period or (age if age > 1 else 0)
                break
        states.append(SlowIteration(level, mask, found, kept))
        converged = np.array_equal(mask, last) and idx >= niter_min
        if converged:
            break
    return SlowLoop(states, converged, period)


def exact_wstat(n: float, k: float, alpha: float, signal: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """W statistic of a bin and its expected OFF counts, with sixty digits."""
    with mpmath.workdps(60):
        n, k, alpha, s = (mpmath.mpf(float(x)) for x in (n, k, alpha, signal))
        a = 1 + 1 / alpha
        # the positive root of a b^2 - (n + k - a s) b - k s = 0
        p = n + k - a * s
        b = (p + mpmath.sqrt(p * p + 4 * a * k * s)) / (2 * a)
        total = s + b + b / alpha - n - k
        if n > 0:
            total += n * mpmath.log(n / (s + b))
        if k > 0:
            total += k * mpmath.log(alpha * k / b)
        return 2 * total, b / alpha


def slow_w(n: Floats, k: Floats, alpha: Floats, signal: Floats) -> Floats:
    """W statistic as printed, from its parts; Cash less that of the counts where alpha is 0."""
    known = alpha <= 0
    safe = np.where(known, 1.0, alpha)
    a = 1 + 1 / safe
    p = n + k - a * signal
    background = (p + np.sqrt(p * p + 4 * a * k * signal)) / (2 * a)
    # where the two terms cancel
    small = (p < 0) & (background < 1e-3 * np.abs(signal))
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = 2 * k * signal / (np.sqrt(p * p + 4 * a * k * signal) - p)
        background = np.where(small, rest, background)
        background = np.where(known, 0.0, np.maximum(background, -signal))
        mu, off = signal + background, background / safe
        value = mu - n + off - k
        value = value + np.where(n > 0, n * np.log(n / mu), 0)
        value = value + np.where(k > 0, k * np.log(k / off), 0)
    return 2 * np.where(known & (mu <= 0) & (n > 0), np.inf, value)


class SlowOnOff(NamedTuple):
    """Fit of ON and OFF counts by golden sections, its errors and limits by bisection."""

    norm: float
    ts: float
    stat: float
    stat_null: float
    norm_errp: float
    norm_errn: float
    norm_ul: float
    norm_sensitivity: float


def slow_on_off(
    n: Floats,
    k: Floats,
    alpha: Floats,
    signal: Floats,
    model: Floats,
    *,
    n_sigma: float = 1.0,
    n_sigma_ul: float = 2.0,
    n_sigma_sensitivity: float = 5.0,
) -> SlowOnOff:
    """Minimise the statistic over the norm, and follow it to where it has risen."""
    known = alpha <= 0
    base = np.where(known, np.maximum(signal, FLOOR), signal)
    lowest = -np.inf
    if (known & (model > 0)).any():
        lowest = -np.min(signal[known & (model > 0)] / model[known & (model > 0)])

    def stat(x: float) -> float:
        return float(slow_w(n, k, alpha, base + x * model).sum())

    total = model.sum()
    high = n.sum() / total + 1.0
    low = max(-1.0 / total - high, lowest)
    while low > lowest and stat(low) < stat(low + 1e-3 * (high - low)):
        low = max(low - 2 * (high - low), lowest)
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(120):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if stat(left) <= stat(right) else (left, high)
    norm = 0.5 * (low + high)
    # a corner is found only to the golden sections' width
    norm = min((norm, 0.0, lowest if np.isfinite(lowest) else 0.0), key=stat)
    best = stat(norm)

    def end(start: float, level: float, sign: int) -> float:
        over = stat(start) + level
        reach = 1.0 / total
        while stat(max(start + sign * reach, lowest)) < over:
            if start + sign * reach <= lowest:
                return start - lowest
            reach *= 2
        top = reach if sign > 0 else min(reach, start - lowest)
        return bisect(lambda d: min(stat(start + sign * d) - over, 1e300), 0.0, top)

    background = base + alpha * k

    def asimov(x: float) -> float:
        return float(slow_w(background + x * model, k, alpha, base).sum())

    top = 1.0 / total
    while asimov(top) < n_sigma_sensitivity**2:
        top *= 2
    return SlowOnOff(
        norm=norm,
        ts=math.copysign(stat(0.0) - best, norm),
        stat=best,
        stat_null=stat(0.0),
        norm_errp=end(norm, n_sigma**2, 1),
        norm_errn=end(norm, n_sigma**2, -1),
        norm_ul=norm + end(norm, n_sigma_ul**2, 1),
        norm_sensitivity=bisect(lambda x: asimov(x) - n_sigma_sensitivity**2, 0.0, top),
    )


class SlowPair(NamedTuple):
    """A fit of norm and index from many starts."""

    norm: float
    index: float
    gain: float  # over norm 0, half the test statistic
    inverse: Floats  # inverse of half the matrix of second derivatives of the statistic


def slow_pair(
    counts: Floats,
    background: Floats,
    model: Callable[[float], Floats],
    limits: tuple[float, float],
    starts: int = 9,
) -> SlowPair:
    """Fit a positive norm and an index by scipy, from many indices, the likelihood as it is."""
    n, b = (np.ravel(a).astype(float) for a in (counts, background))

    def cost(point: Floats) -> float:
        norm, m = math.exp(point[0]), np.ravel(model(float(point[1])))
        z = norm * m / np.maximum(b, FLOOR)
        seen = n > 0
        return float(norm * m.sum() - np.sum(n[seen] * np.log1p(z[seen])))

    best = None
    for index in np.linspace(*limits, starts):
        m = np.ravel(model(float(index)))
        first = max(slow_fit(n, b, m).norm, 1e-3 / m.sum())
        found = scipy.optimize.minimize(
            cost,
            [math.log(first), index],
            method="L-BFGS-B",
            bounds=[(math.log(1e-9 / m.sum()), 60.0), limits],
            options={"ftol": 1e-15, "gtol": 1e-9},
        )
        if best is None or found.fun < best.fun:
            best = found
    polished = scipy.optimize.minimize(
        cost,
        best.x,
        method="Nelder-Mead",
        bounds=[(-80.0, 60.0), limits],
        options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 2000},
    )
    best = polished if polished.fun <= best.fun else best
    h = 1e-4
    second = np.empty((2, 2))
    for i in range(2):
        for j in range(2):
            corners = 0.0
            for a in (-1, 1):
                for c in (-1, 1):
                    step = np.zeros(2)
                    step[i] += a * h
                    step[j] += c * h
                    corners += a * c * cost(best.x + step)
            second[i, j] = corners / (4 * h * h)
    with np.errstate(all="ignore"):
        inverse = np.linalg.pinv(second)
    return SlowPair(math.exp(best.x[0]), float(best.x[1]), -best.fun, inverse)


class SlowPlane:
    """Statistic of windows over norms of source and of backgrounds, and its minima by search.

    Counts, background and model have shape (windows, bins), all that comes out one value for each
    window. Every group of bins has a background norm `beta` of its own, known to be 1 to
    ``1 / sqrt(tau)``: the prior is ``2 tau (beta - 1 - log beta)`` or ``tau (beta - 1)^2``.
    """

    def __init__(
        self,
        counts: Floats,
        background: Floats,
        model: Floats,
        *,
        tau: float | Floats = 0.0,
        gaussian: bool = False,
        groups: NDArray[np.int_] | None = None,
    ) -> None:
        n, b, m = (np.atleast_2d(np.asarray(a, float)) for a in (counts, background, model))
        of_bins = np.zeros(n.shape[1], int) if groups is None else np.asarray(groups)
        self.gaussian, self.number = gaussian, int(of_bins.max()) + 1
        self.tau = np.broadcast_to(np.asarray(tau, float), (self.number, len(n)))
        self.total = m.sum(axis=1)
        self.parts = []
        for group in range(self.number):
            ours = tuple(a[:, of_bins == group] for a in (n, b, m))
            with np.errstate(divide="ignore", invalid="ignore"):
                # by this times minus the norm the background must be above 0
                steep = np.where(ours[2] > 0, ours[2] / ours[1], 0).max(axis=1)
            sums = tuple(a.sum(axis=1) for a in ours)
            # bins without counts enter by their sums alone
            order = np.argsort(-ours[0], axis=1)[:, : max(1, (ours[0] > 0).sum(axis=1).max())]
            few = tuple(np.take_along_axis(a, order, axis=1) for a in ours)
            self.parts.append((few, sums, steep))

    def statistic(self, norm: Floats, betas: Floats) -> Floats:
        """Return the statistic less that at norm 0 and the given backgrounds; infinite outside."""
        total = 2 * norm * self.total
        for beta, tau, ((n, b, m), sums, steep) in zip(betas, self.tau, self.parts, strict=True):
            low = _least(norm, steep)
            outside = (beta < low * (1 - 1e-12)) | ~np.isfinite(low)
            with np.errstate(all="ignore"):
                logs = n * np.log(beta[:, None] + norm[:, None] * m / np.maximum(b, FLOOR))
                logs = np.where(n > 0, logs, 0).sum(axis=1)
                if self.gaussian:
                    prior = tau * (beta - 1) ** 2
                else:
                    prior = np.where(tau > 0, 2 * tau * (beta - 1 - np.log(beta)), 0)
                total = total + 2 * ((beta - 1) * sums[1] - logs) + prior
            total = np.where(outside | np.isnan(total), np.inf, total)
        return total

    def best_backgrounds(self, norm: Floats) -> Floats:
        """Return the best norms of the backgrounds at a norm, by bisection of the derivative."""
        found = []
        for tau, ((n, b, m), sums, steep) in zip(self.tau, self.parts, strict=True):
            low = _least(norm, steep)
            start = np.where(np.isfinite(low), low, 0)
            top = np.log((sums[0] + tau) / np.maximum(sums[1] + tau, FLOOR) + 1)
            left, right = top - 60.0, top
            for _ in range(52):
                middle = 0.5 * (left + right)
                beta = start + np.exp(middle)
                with np.errstate(all="ignore"):
                    pulls = n / (beta[:, None] + norm[:, None] * m / np.maximum(b, FLOOR))
                    pull = np.where(n > 0, pulls, 0).sum(axis=1)
                prior = tau * (beta - 1 if self.gaussian else 1 - 1 / beta)
                falls = sums[1] - pull + prior < 0
                left, right = np.where(falls, middle, left), np.where(falls, right, middle)
            found.append(start + np.where(left == top - 60.0, 0, np.exp(0.5 * (left + right))))
        return np.array(found)

    def profile(self, norm: Floats) -> Floats:
        """Return the statistic at a norm and the best backgrounds there."""
        return self.statistic(norm, self.best_backgrounds(norm))

    def bare(self) -> NDArray[np.bool_]:
        """Tell in which windows a bin without background has a model: no norm is below 0."""
        return np.any([np.isinf(steep) for _, _, steep in self.parts], axis=0)

    def minimum(self) -> Floats:
        """Return the best norm by golden sections."""
        counts = sum(sums[0] for _, sums, _ in self.parts)
        high = (counts + 1) / self.total
        low = np.where(self.bare(), 0.0, -high)
        for _ in range(60):
            falls = self.profile(low) < self.profile(low + 1e-3 * (high - low))
            low = np.where(falls & ~self.bare(), low - 2 * (high - low), low)
        golden = (math.sqrt(5) - 1) / 2
        for _ in range(70):
            left, right = high - golden * (high - low), low + golden * (high - low)
            falls = self.profile(left) > self.profile(right)
            low, high = np.where(falls, left, low), np.where(falls, high, right)
        norm = 0.5 * (low + high)
        zero = np.zeros_like(norm)
        return np.where(self.bare() & (self.profile(zero) <= self.profile(norm)), 0, norm)

    def end(self, base: Floats, level: float | Floats, sign: int) -> Floats:
        """Return the norm on one side of a base where the profile has risen by a level."""
        over = self.profile(base) + level
        last = np.where(self.bare() & (sign < 0), base, np.inf)
        reach = np.minimum(1e-3 / self.total, last)
        for _ in range(80):
            short = (self.profile(base + sign * reach) < over) & (reach < last)
            if not short.any():
                break
            reach = np.where(short, np.minimum(2 * reach, last), reach)
        held = self.profile(base + sign * reach) < over
        near, far = np.zeros_like(reach), reach
        for _ in range(55):
            middle = 0.5 * (near + far)
            short = self.profile(base + sign * middle) < over
            near, far = np.where(short, middle, near), np.where(short, far, middle)
        return base + sign * np.where(held, last, 0.5 * (near + far))

    def covariance(self, norm: Floats, betas: Floats, step: Floats) -> Floats:
        """Return errors squared and covariances of norm and betas, from second differences."""
        # shape (windows, 1 + groups, 1 + groups); step: a small part of the norm's error
        sums = np.array([s[0] for _, s, _ in self.parts]) + self.tau + 1
        steps = np.concatenate([step[None], 0.01 * betas / np.sqrt(sums)])
        at = np.concatenate([norm[None], betas])
        size = len(at)

        def corner(one: int, by: int, other: int, also: int) -> Floats:
            moved = at.copy()
            moved[one] += by * steps[one]
            moved[other] += also * steps[other]
            return self.statistic(moved[0], moved[1:])

        second = np.empty((len(norm), size, size))
        with np.errstate(all="ignore"):
            for i in range(size):
                for j in range(size):
                    change = corner(i, 1, j, 1) + corner(i, -1, j, -1)
                    change = change - corner(i, 1, j, -1) - corner(i, -1, j, 1)
                    second[:, i, j] = change / (4 * steps[i] * steps[j])
        known = np.isfinite(second).all(axis=(1, 2))
        second = np.where(known[:, None, None], second, np.eye(size))
        return np.where(known[:, None, None], np.linalg.pinv(second / 2), np.nan)


def _least(norm: Floats, steep: Floats) -> Floats:
    """Return the smallest norm of a background at which no prediction is negative."""
    with np.errstate(invalid="ignore"):
        return np.where(norm < 0, -norm * steep, 0.0)


class SlowPlaneFit(NamedTuple):
    """Fits of windows with norms of the background; those of groups have these in front."""

    norm: Floats
    norm_err: Floats
    ts: Floats
    background_norm: Floats
    background_norm_err: Floats
    background_norm_corr: Floats
    norm_errp: Floats
    norm_errn: Floats
    norm_ul: Floats


def slow_plane_fit(
    plane: SlowPlane,
    *,
    n_sigma: float = 1.0,
    n_sigma_ul: float = 2.0,
    norm_min: float = -math.inf,
) -> SlowPlaneFit:
    """Fit windows, with errors from second differences, and limits from the profile."""
    norm = plane.minimum()
    betas = plane.best_backgrounds(norm)
    upper, lower = plane.end(norm, n_sigma**2, 1), plane.end(norm, n_sigma**2, -1)
    base = np.maximum(norm, norm_min)
    step = 0.01 / n_sigma * np.minimum(upper - norm, np.maximum(norm - lower, 1e-300))
    spread = plane.covariance(norm, betas, step)
    errors = np.sqrt(np.diagonal(spread, axis1=1, axis2=2)).T
    gain = plane.profile(np.zeros_like(norm)) - plane.statistic(norm, betas)
    return SlowPlaneFit(
        norm=norm,
        norm_err=n_sigma * errors[0],
        ts=np.copysign(np.maximum(gain, 0), norm),
        background_norm=betas,
        background_norm_err=n_sigma * errors[1:],
        background_norm_corr=spread[:, 0, 1:].T / (errors[0] * errors[1:]),
        norm_errp=upper - norm,
        norm_errn=norm - lower,
        norm_ul=plane.end(base, n_sigma_ul**2, 1),
    )


def slow_plane_sensitivity(
    background: Floats, model: Floats, tau: float, unseen: float, level: float, n_sigma: float
) -> float:
    """Return the norm whose expected counts give a significance, with one background norm."""
    # unseen: background where there is no model; level: norm of the background
    b = level * np.append(background, unseen + tau)
    m = np.append(model, 0.0)

    def asimov(norm: float) -> float:
        n = b + norm * m
        seen = n > 0
        best = n.sum() / b.sum()
        free = np.sum(best * b) - np.sum(n[seen] * np.log(np.maximum(best * b[seen], FLOOR)))
        right = np.sum(n) - np.sum(n[seen] * np.log(n[seen]))
        return 2 * float(free - right)

    top = 1 / m.sum()
    while asimov(top) < n_sigma**2:
        top *= 2
    return bisect(lambda x: asimov(x) - n_sigma**2, 0.0, top)
