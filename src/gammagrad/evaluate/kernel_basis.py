"""A few kernels that the kernels of a whole map are blends of, by singular value decomposition."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammagrad.evaluate.kernel_field import Integers, KernelField, Rows

Floats = NDArray[np.float64]

# Values below this part of an image's peak are rounding noise.
_NOISE = 1e-12
# Least value of a blend, where any kernel has one, as a part of the image's peak.
_FLOOR = 1e-9
# Weight of differences that change a norm in first order; any other changes it in second order.
_ALONG = 10.0
_MOST = 12
# Positions at which errors are found, and the brightness of sources there: the largest ratio of
# their counts to the background's.
_JUDGES = 40
_LEVELS = (0.0, 1.0, 10.0, 100.0, 1e4)
# Positions at which blends are kept from being negative, besides the extreme ones.
_OTHERS = 300
# Widths of kernels in pixels, and the places along a side of a pixel that narrower ones are
# interpolated from: errors are then about 1e-4 of the peak.
_NODES = ((0.5, 7), (2.0, 5), (np.inf, 4))
# Singular values below this part of the first are rounding noise.
_RANK = 1e-10


class KernelBasis(NamedTuple):
    """Kernels, and how much of each there is at every position."""

    kernels: Floats  # shape (kernels, images, rows, cols); the first is the mean
    blend: Floats  # shape (kernels, positions); of the first it is 1
    # what is lost of the sum where kernels are kept from being negative, by image
    loss: Floats
    error: float  # largest error of a norm, relative
    # for bases of sampled kernels: where these are, and the kernels as mixtures of them
    at: Integers | None = None
    mixture: Floats | None = None


class _Samples(NamedTuple):
    """Kernels at some positions."""

    at: Integers  # the positions: first those that are decomposed, then those that check
    trained: int  # how many are decomposed
    flat: Floats  # the kernels, shape (samples, values)
    support: NDArray[np.bool_]  # where any has a value, shape (images, rows, cols)
    counts: Floats  # of the reference source, shape (samples, images)
    background: Floats  # by image
    # images that are seen together: all of them, or each alone
    views: list[slice]


def kernel_basis(
    field: KernelField,
    rows: Rows,
    background: Floats,
    side: int,
    tolerance: float,
    *,
    sampled: bool = False,
) -> KernelBasis:
    """Find the fewest kernels whose blends are right to a tolerance of a norm."""
    # sampled: the basis is of a few of the kernels themselves, which can be made again for other
    # places of a source within its pixel; otherwise it is that of the singular values.
    # The metric is that of the expected information: counts squared over background.
    samples = _samples(field, rows, background, side)
    train = samples.flat[: samples.trained]
    weight = information(samples.counts.mean(axis=0), samples.background)
    metric = np.repeat(weight, samples.support[0].size)
    mean = train.mean(axis=0)
    first = int(np.argmin((np.square(train - mean) * metric).sum(axis=1)))
    if sampled:
        mean = train[first]
    away = samples.flat - mean
    size = float(mean @ (metric * mean))
    errors = _first_order(samples, mean)
    # vectors of the basis as mixtures of the differences
    differences = away[: samples.trained]
    scaled, along = differences * np.sqrt(metric), differences @ errors.T
    gram = scaled @ scaled.T + _ALONG**2 * size * along @ along.T
    mixture = _pivots(gram) if sampled else _singular(gram)
    vectors = mixture @ differences
    dual = metric * vectors + _ALONG**2 * size * (vectors @ errors.T) @ errors
    number, error = _fewest(samples, mean, vectors, dual, tolerance)
    shape = (-1, *samples.support.shape)
    basis = _assembled(
        *(field, rows, mean.reshape(samples.support.shape), vectors[:number].reshape(shape)),
        *(dual[:number].reshape(shape), samples.support, error),
    )
    if not sampled:
        return basis
    # in terms of the kernels themselves, the first being that which differences are from
    used = np.flatnonzero(mixture[:number].any(axis=0))
    own = np.concatenate([[first], used])
    by_kernel = np.zeros((number + 1, own.size))
    by_kernel[0, 0] = 1
    by_kernel[1:, 1:] = mixture[:number][:, used]
    by_kernel[1:, 0] -= mixture[:number].sum(axis=1)
    return basis._replace(at=samples.at[own], mixture=by_kernel)


def _samples(field: KernelField, rows: Rows, background: Floats, side: int) -> _Samples:
    """Return the kernels at a grid of positions, and at those between them."""
    train = field.sample(side)
    check = np.setdiff1d(field.sample(max(side - 1, 1), 0.5), train)
    at = np.concatenate([train, check])
    kernels = field.kernels(at, rows)
    peak = kernels.max(axis=(0, 2, 3))[:, None, None]
    support = kernels.max(axis=0) > _NOISE * peak
    flat = np.where(support, kernels, 0.0).reshape(len(kernels), -1)
    counts = rows.summed(field.amplitude[at])
    return _Samples(at, train.size, flat, support, counts, rows.summed(background), rows.views)


def _first_order(samples: _Samples, mean: Floats) -> Floats:
    """Return the derivatives of norms by a kernel, for sources of each brightness."""
    images = mean.reshape(len(samples.background), -1)
    rows = []
    for view in samples.views:
        counts = samples.counts.mean(axis=0)[view, None]
        b = _floored(samples.background[view])[:, None]
        model = counts * images[view]
        peak = float((model / b).max(initial=0.0))
        for level in _LEVELS if peak > 0 else ():
            weighted = model / (b + level / peak * model)
            row = np.zeros(images.shape)
            row[view] = counts * weighted / (weighted * model).sum()
            rows.append(row.ravel())
    return np.array(rows).reshape(-1, mean.size)


def _floored(background: Floats) -> Floats:
    """Return backgrounds of images, none much smaller than the largest."""
    floor = 1e-3 * background.max(initial=0.0)
    return np.maximum(background, floor if floor > 0 else 1.0)


def _fewest(
    samples: _Samples, mean: Floats, vectors: Floats, dual: Floats, tolerance: float
) -> tuple[int, float]:
    """Return how many vectors are needed for a tolerance, and the largest error that is left."""
    judges = np.unique(np.linspace(0, len(samples.flat) - 1, _JUDGES).astype(int))
    shape = (len(samples.background), -1)
    weights, model = (samples.flat - mean) @ dual.T, np.tile(mean, (len(samples.flat), 1))
    number, error = 0, np.inf
    for number in range(len(vectors) + 1):
        if number:
            model += np.outer(weights[:, number - 1], vectors[number - 1])
        more, loss = _lacking(model.min(axis=0), mean, samples.support)
        scale = samples.counts[judges] / (1 + loss)
        error = 0.0
        for judge, counts, scaled in zip(judges, samples.counts[judges], scale, strict=True):
            true = counts[:, None] * samples.flat[judge].reshape(shape)
            blend = scaled[:, None] * np.maximum(model[judge] + more, 0.0).reshape(shape)
            for view in samples.views:
                own = norm_error(true[view], blend[view], samples.background[view])
                error = max(error, own)
        if error <= tolerance:
            break
    return number, error


def _lacking(least: Floats, mean: Floats, support: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return what the least values of blends lack of being positive, and its part of the sum."""
    images, shape = mean.reshape(len(support), -1), (len(support), -1)
    floor = _FLOOR * images.max(axis=1, keepdims=True)
    lacking = np.maximum(floor - least.reshape(shape), 0.0)
    more = np.where(support.reshape(shape), lacking, 0.0)
    total = images.sum(axis=1)
    loss = np.divide(more.sum(axis=1), total, out=np.zeros_like(total), where=total > 0)
    return more.reshape(mean.shape), loss


def norm_error(true: Floats, model: Floats, background: Floats) -> float:
    """Return the largest error of a norm, relative, for sources of any brightness."""
    # The counts are b + q t, the model is m with the norm q: Newton's first step from there.
    # Shapes (images, values); background by image.
    b = _floored(background)[:, None]
    peak = float((true / b).max(initial=0.0))
    worst = 0.0
    for level in _LEVELS if peak > 0 else ():
        weighted = model / (b + level / peak * model)
        total = float((weighted * model).sum())
        found = float((weighted * true).sum()) / total if total > 0 else np.inf
        worst = max(worst, abs(found - 1))
    return worst


def information(counts: Floats, background: Floats) -> Floats:
    """Return the weights of images: counts squared over background, of sum 1."""
    weight = counts**2 / _floored(background)
    total = weight.sum()
    return weight / total if total > 0 else np.full(len(weight), 1 / len(weight))


def _singular(gram: Floats) -> Floats:
    """Return the singular vectors of differences as mixtures of them, the largest first."""
    values, vectors = np.linalg.eigh(gram)
    kept = np.flatnonzero(values > _RANK * max(values[-1], 1e-300))[::-1][:_MOST]
    return np.asarray((vectors[:, kept] / np.sqrt(values[kept])).T)


def _pivots(gram: Floats) -> Floats:
    """Return orthonormal mixtures of few differences: a Cholesky decomposition with pivots."""
    left, chosen = gram.copy(), list[int]()
    largest = max(float(np.diag(gram).max(initial=0.0)), 1e-300)
    while len(chosen) < min(_MOST, len(gram)):
        pivot = int(np.argmax(np.diag(left)))
        if left[pivot, pivot] <= _RANK * largest:
            break
        chosen.append(pivot)
        column = left[:, pivot] / np.sqrt(left[pivot, pivot])
        left -= np.outer(column, column)
    mixture = np.zeros((len(chosen), len(gram)))
    if chosen:
        lower = np.linalg.cholesky(gram[np.ix_(chosen, chosen)])
        mixture[:, chosen] = np.linalg.inv(lower)
    return mixture


def _assembled(
    field: KernelField,
    rows: Rows,
    mean: Floats,
    vectors: Floats,
    dual: Floats,
    support: NDArray[np.bool_],
    error: float,
) -> KernelBasis:
    """Put the mean in front, raised so that no blend is negative."""
    blend = np.ones((len(vectors) + 1, field.positions.rows.size))
    if len(vectors):
        own = np.einsum("kryx,ryx->k", dual, mean)
        blend[1:] = field.projected(dual, rows) - own[:, None]
        # far from any exposure the kernel is that of the nearest positions, in the mean
        blend[1:, ~field.amplitude.any(axis=1)] = 0.0
    kernels, loss = raised(np.concatenate([mean[None], vectors]), _extremes(blend), support)
    return KernelBasis(kernels, blend, loss, error)


def _extremes(blend: Floats) -> Floats:
    """Return the weights at positions that are extreme in any of them, and at others."""
    others = np.linspace(0, blend.shape[1] - 1, min(_OTHERS, blend.shape[1])).astype(int)
    ends = np.concatenate([blend.argmin(axis=1), blend.argmax(axis=1)])
    return blend[1:, np.unique(np.concatenate([others, ends]))].T


def raised(kernels: Floats, blends: Floats, support: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Raise the first kernel so that no blend is negative; return by how much of its sum, too."""
    # blends: weights of the other kernels, shape (samples, kernels - 1)
    mean, vectors = kernels[0], kernels[1:]
    least = np.full(mean.shape, np.inf)
    for own in blends:
        np.minimum(least, mean + np.tensordot(own, vectors, axes=1), out=least)
    more, loss = _lacking(least, mean, support)
    return np.concatenate([(mean + more)[None], vectors]), loss


def one_kernel_error(
    field: KernelField,
    rows: Rows,
    kernel: Floats,
    seen: Floats,
    background: Floats,
    side: int,
) -> float:
    """Return the largest error of a norm found with one kernel, and the exposure at the bins."""
    # kernel: by energy, shape (energies, rows, cols); seen: counts of the reference spectrum for
    # all pixels of the map, shape (energies, rows, cols)
    at: Integers = field.sample(side)
    (ky, kx), (ny, nx) = kernel.shape[1:], seen.shape[1:]
    true = field.kernels(at, rows)
    if true.shape[-2:] != (ky, kx):
        raise AssertionError("kernels of the same size are compared")
    counts = rows.summed(field.amplitude[at])
    by_image, worst = rows.summed(background), 0.0
    places = np.round(field.positions.rows[at]), np.round(field.positions.columns[at])
    for row, column, image, expected in zip(*places, true, counts, strict=True):
        y, x = int(row) - ky // 2, int(column) - kx // 2
        inside = slice(max(y, 0), min(y + ky, ny)), slice(max(x, 0), min(x + kx, nx))
        part = (
            slice(inside[0].start - y, inside[0].stop - y),
            slice(inside[1].start - x, inside[1].stop - x),
        )
        source = expected[:, None, None] * image[:, part[0], part[1]]
        bins, shape = seen[:, inside[0], inside[1]], kernel[:, part[0], part[1]]
        if rows.equal:
            model = np.stack(
                [
                    np.tensordot(f, shape[e], axes=1) / f.sum() * np.tensordot(f, bins[e], axes=1)
                    for e, f in zip(rows.energies, rows.factors, strict=True)
                ]
            )
        else:
            model = np.stack(
                [
                    np.tensordot(f, shape[e] * bins[e], axes=1)
                    for e, f in zip(rows.energies, rows.factors, strict=True)
                ]
            )
        flat = (len(counts[0]), -1)
        pair = source.reshape(flat), model.reshape(flat)
        for view in rows.views:
            error = norm_error(pair[0][view], pair[1][view], by_image[view])
            worst = max(worst, error)
    return worst


def shifted_kernels(
    field: KernelField,
    rows: Rows,
    basis: KernelBasis,
    shifts: list[tuple[float, float]],
    sigma: float,
) -> tuple[Floats, Floats]:
    """Return the kernels of a sampled basis for sources at some places within their pixels."""
    # shapes (shifts, kernels, images, rows, cols) and, what is lost of the sums, (shifts, images).
    # Kernels are smooth functions of the place: of many places they are interpolated from few, in
    # number by the width (sigma) of the narrowest in pixels.
    assert basis.at is not None
    assert basis.mixture is not None
    n_nodes = next(number for width, number in _NODES if sigma < width)
    weights, places = np.eye(len(shifts)), shifts
    if len(shifts) > n_nodes**2:
        weights, places = _interpolation(shifts, n_nodes)
    made = [field.shifted(basis.at, rows, place) for place in places]
    # a source in the middle of its pixel needs a pixel less on all sides
    ny, nx = np.max([kernels.shape[-2:] for kernels in made], axis=0).tolist()
    for number, kernels in enumerate(made):
        y, x = (ny - kernels.shape[-2]) // 2, (nx - kernels.shape[-1]) // 2
        made[number] = np.pad(kernels, ((0, 0), (0, 0), (y, y), (x, x)))
    at_nodes, blends = np.stack(made), _extremes(basis.blend)
    found, lost = [], []
    for own in weights:
        kernels = np.maximum(np.tensordot(own, at_nodes, axes=1), 0.0)
        peak = kernels.max(axis=(0, 2, 3))[:, None, None]
        support = kernels.max(axis=0) > _NOISE * peak
        mixed = np.tensordot(basis.mixture, np.where(support, kernels, 0.0), axes=1)
        kernels, loss = raised(mixed, blends, support)
        found.append(kernels)
        lost.append(loss)
    return np.stack(found), np.stack(lost)


def _interpolation(
    shifts: list[tuple[float, float]], number: int
) -> tuple[Floats, list[tuple[float, float]]]:
    """Return weights of places within a pixel that others are interpolated from, and these."""
    nodes = 0.5 * np.cos(np.pi * (np.arange(number) + 0.5) / number)
    rows, columns = (_lagrange(nodes, np.array(side)) for side in zip(*shifts, strict=True))
    weights = (rows[:, :, None] * columns[:, None, :]).reshape(len(shifts), -1)
    return weights, [(float(y), float(x)) for y in nodes for x in nodes]


def _lagrange(nodes: Floats, at: Floats) -> Floats:
    """Return the polynomials that are 1 at one node and 0 at the others, shape (places, nodes)."""
    apart = nodes[:, None] - nodes[None, :] + np.eye(nodes.size)
    away = at[:, None, None] - np.broadcast_to(nodes, (nodes.size, nodes.size))
    away[:, np.eye(nodes.size, dtype=bool)] = 1.0
    return np.asarray((away / apart).prod(axis=2))
