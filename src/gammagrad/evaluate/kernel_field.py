"""The kernel of a source at every position of a map.

What changes over a map is the point spread function, between the pixels of its own coarse map; the
shape of the pixels; and the true energies that the counts of an energy come from, by exposure and
energy dispersion. The first two are mixed from the images of nodes, the last is known at each
position. So is every kernel, and its projection on a few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from gammagrad.evaluate.containment import spare_pixels
from gammagrad.evaluate.kernel import with_shape
from gammagrad.evaluate.local_responses import Dispersion, acting
from gammagrad.evaluate.node_images import NodeImages, Nodes, node_images
from gammagrad.evaluate.predict import source_flux
from gammagrad.evaluate.source_exposure import source_exposure
from gammagrad.evaluate.stencil import Stencil, response_lines, shape_lines, stencil
from gammagrad.maps import Map, MapAxis, PSFMap, WcsGeom, diagonal_edisp, middle, middle_shape

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Positions worked on at a time.
_AT_A_TIME = 2**14
# Part of the mean exposure that gives energies without exposure at a position their kernel.
_TRACE = 1e-9


class Positions(NamedTuple):
    """Positions of sources, shape (n,) each."""

    sky: SkyCoord | None  # None where responses are the same everywhere
    # rows, columns: in pixels of the dataset
    rows: Floats
    columns: Floats


class Rows(NamedTuple):
    """What the images of a fit sum up."""

    # for each image, the energies whose kernels it sums, and a factor on the counts of each
    energies: Sequence[NDArray[np.int64]]
    factors: Sequence[Floats]
    equal: bool = False  # whether kernels are weighted by the factors alone, not by counts

    @property
    def views(self) -> list[slice]:
        """The images that a fit sees together: all, or each alone where they share energies."""
        number = len(self.energies)
        energies = [e for image in self.energies for e in image.tolist()]
        if len(set(energies)) < len(energies):
            return [slice(image, image + 1) for image in range(number)]
        return [slice(0, number)]

    def summed(self, values: Floats) -> Floats:
        """Sum values by energy, the last axis, to values by image."""
        sums = [values[..., e] @ f for e, f in zip(self.energies, self.factors, strict=True)]
        return np.stack(sums, axis=-1)


def single_rows(energies: Integers) -> Rows:
    """Return images of one energy each."""
    return Rows([np.array([e]) for e in energies], [np.ones(1)] * len(energies))


class _Pairs(NamedTuple):
    """Pairs of a pixel shape and a response, whose images are mixed."""

    nodes: Nodes
    which: Integers  # pairs around each position, shape (n, pairs of a position)
    weight: Floats  # their weights
    cell: Integers  # the same number where the pairs are the same, shape (n,)
    mixed: int  # pairs of a position that are not a correction


class _Part(NamedTuple):
    """Positions with the same pairs and the same energy dispersion."""

    at: Integers  # among all positions
    pairs: Integers
    mix: Floats  # counts by pair and energy of the PSF, shape (positions, pairs, q)
    # scale: of the sum of these counts by reconstructed energy; counts: that sum; (positions, e)
    scale: Floats
    counts: Floats
    matrix: Floats  # energy dispersion, shape (q, e)


class KernelField:
    """Kernels of a source at some positions."""

    def __init__(
        self,
        model: Any,
        exposure: Map,
        psf: PSFMap | None,
        edisp: Dispersion | None,
        geom: WcsGeom,
        positions: Positions,
        *,
        kernel_width: Any = None,
        containment: float | None = None,
        renormalise: bool = True,
    ) -> None:
        self.geom, self.positions, self.renormalise = geom, positions, renormalise
        self.axis = geom.axes["energy"]
        axis_true, psf = exposure.geom.axes["energy_true"], acting(model, psf)
        in_reco = psf is not None and psf.energy_name == "energy"
        self._pairs = _pairs(psf, geom, positions)
        nodes, axis = self._pairs.nodes, self.axis if in_reco else axis_true
        self._folded, self._width = (model, psf, axis, geom), kernel_width
        self.node = node_images(*self._folded, nodes, kernel_width)
        self._images, self._totals = _filled(self.node, nodes)
        seen = source_exposure(model, exposure, positions.rows, positions.columns)
        acts = edisp if model.apply_irf["edisp"] else None
        matrices, region = _dispersions(acts, axis_true, self.axis, positions)
        expected = (source_flux(model, axis_true)[:, None] * seen).T
        if in_reco:
            expected = _by_region(expected, matrices, region)
            matrices, region = np.eye(self.axis.nbin)[None], np.zeros_like(region)
        seeing = expected
        if not (self.node.totals > 0).all():
            share = np.einsum("np,npq->nq", self._pairs.weight, self.node.totals[self._pairs.which])
            seeing = expected * (share > 0)
        # counts that the reference spectrum would give at each position, shape (n, energies)
        self.amplitude = _by_region(seeing, matrices, region)
        self._expected = expected + _TRACE * expected.mean(axis=0)
        self._matrices, self._region = _traced(matrices), region
        if containment is not None:
            self._crop(containment)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the kernels."""
        rows, cols = self._images.shape[-2:]
        return rows, cols

    def _crop(self, containment: float) -> None:
        """Cut the kernels to the smallest that hold a part of the source everywhere."""
        sides = middle_shape(self.geom).sides[::-1]
        spare = []
        at = self.sample(9)
        for own, kernel in zip(self.amplitude[at], self._plain(at), strict=True):
            spare.append(spare_pixels(own[:, None, None] * kernel, own, containment, sides))
        rows, cols = np.min(spare, axis=0)
        ny, nx = self.shape
        self._images = self._images[:, :, rows : ny - rows, cols : nx - cols]

    def sample(self, side: int, shift: float = 0.0) -> Integers:
        """Return positions with exposure, close to a grid of so many by so many."""
        seen = np.flatnonzero(self.amplitude.any(axis=1))
        if not seen.size:
            return seen
        rows, columns = self.positions.rows[seen], self.positions.columns[seen]
        part = (np.arange(side) + shift) / max(side - 1, 1)
        wanted = [c.min() + np.ptp(c) * part[part <= 1] for c in (rows, columns)]
        found = set()
        for row in wanted[0]:
            for column in wanted[1]:
                found.add(int(np.argmin((rows - row) ** 2 + (columns - column) ** 2)))
        return seen[sorted(found)]

    def _parts(self, at: Integers, some: Integers | None = None) -> Iterator[_Part]:
        """Yield some positions by the pairs and energy dispersion that they have."""
        key = self._pairs.cell[at] * len(self._matrices) + self._region[at]
        order = np.argsort(key, kind="stable")
        cuts = np.flatnonzero(np.diff(key[order])) + 1
        cuts = np.union1d(cuts, np.arange(_AT_A_TIME, at.size, _AT_A_TIME))
        inside = self._images.sum(axis=(2, 3))
        for own in np.split(at[order], cuts):
            pairs, matrix = self._pairs.which[own[0]], self._matrices[self._region[own[0]]]
            share = self._pairs.weight[own][:, :, None] * self._totals[pairs]
            total = share.sum(axis=1, keepdims=True)
            share /= np.where(total > 0, total, 1.0)
            mix = share * self._expected[own][:, None]
            counts = self._expected[own] @ matrix
            scale = np.divide(1.0, counts, out=np.zeros_like(counts), where=counts > 0)
            if self.renormalise:
                held = np.einsum("npq,pq->nq", mix, inside[pairs]) @ matrix * scale
                scale = np.divide(scale, held, out=np.zeros_like(scale), where=held > 0)
            yield _Part(own, pairs, mix, scale, counts, matrix)

    def _weights(self, part: _Part, rows: Rows) -> Floats:
        """Return how much of each energy of the PSF is in each image, (positions, images, q)."""
        found = np.empty((part.at.size, len(rows.energies), part.matrix.shape[0]))
        for image, (energies, factors) in enumerate(zip(rows.energies, rows.factors, strict=True)):
            share = np.broadcast_to(factors, (part.at.size, energies.size))
            if not rows.equal:
                share = part.counts[:, energies] * factors
            total = share.sum(axis=1, keepdims=True)
            share = share / np.where(total > 0, total, 1.0) * part.scale[:, energies]
            found[:, image] = share @ part.matrix[:, energies].T
        return found

    def _plain(self, at: Integers) -> Floats:
        """Return kernels by energy that are not normalised, shape (n, energies, rows, cols)."""
        return self._mixed(at, single_rows(np.arange(self.axis.nbin)), normalised=False)

    def kernels(self, at: Integers, rows: Rows) -> Floats:
        """Return the kernels at some positions, shape (n, images, rows, cols)."""
        return self._mixed(at, rows, normalised=True)

    def shifted(self, at: Integers, rows: Rows, shift: tuple[float, float]) -> Floats:
        """Return the kernels at some positions if sources are off the middle of their pixels."""
        used = np.unique(self._pairs.which[at])
        places = [(place, pixel) for place, some in self._pairs.nodes.items() for pixel in some]
        nodes: Nodes = {}
        for pair in used.tolist():
            place, pixel = places[pair]
            nodes.setdefault(place, []).append(pixel)
        moved = node_images(*self._folded, nodes, self._width, shift)
        rows_more, cols_more = np.subtract(moved.images.shape[-2:], self.shape).clip(min=0)
        shape = self.shape[0] + int(rows_more), self.shape[1] + int(cols_more)
        images = np.zeros((len(self._images), self._images.shape[1], *shape))
        # pairs are in the order of their nodes
        images[used] = _with_shape(_filled(moved, nodes)[0], shape)
        return self._mixed(at, rows, normalised=True, images=images)

    def _mixed(
        self, at: Integers, rows: Rows, normalised: bool, images: Floats | None = None
    ) -> Floats:
        """Mix images at some positions."""
        every = self._images if images is None else images
        pairs, energies, *shape = every.shape
        shares = np.zeros((at.size, len(rows.energies), pairs, energies))
        place = {int(index): number for number, index in enumerate(at)}
        for part in self._parts(at):
            if not normalised:
                scale = np.divide(1.0, part.counts, out=part.counts * 0, where=part.counts > 0)
                part = part._replace(scale=scale)
            weights = self._weights(part, rows)
            for which, mix, own in zip(part.at, part.mix, weights, strict=True):
                for pair, counts in zip(part.pairs, mix, strict=True):
                    shares[place[int(which)], :, pair] += own * counts
        found = np.empty((at.size, len(rows.energies), *shape))
        for image in range(len(rows.energies)):
            used = np.flatnonzero(shares[:, image].any(axis=(0, 1)))
            factors = shares[:, image][:, :, used].reshape(at.size, -1)
            flat = every[:, used].reshape(-1, shape[0] * shape[1])
            found[:, image] = (factors @ flat).reshape(at.size, *shape)
        return found

    def projected(self, vectors: Floats, rows: Rows) -> Floats:
        """Return the products of the kernel at every position with vectors, shape (vectors, n)."""
        n_vectors, n_images = len(vectors), len(rows.energies)
        pairs, energies = self._images.shape[:2]
        flat = self._images.reshape(pairs * energies, -1)
        products = np.stack(
            [flat @ vectors[:, image].reshape(n_vectors, -1).T for image in range(n_images)]
        ).reshape(n_images, pairs, energies, n_vectors)
        found = np.zeros((n_vectors, self.positions.rows.size))
        for part in self._parts(np.flatnonzero(self.amplitude.any(axis=1))):
            weights = self._weights(part, rows)
            image, used = np.nonzero(weights.any(axis=0))
            own, n_mixed = weights[:, image, used], self._pairs.mixed
            factors = products[image[:, None], part.pairs[None], used[:, None]]
            mixed = part.mix[:, :n_mixed, used] * own[:, None]
            sums = mixed.swapaxes(1, 2).reshape(len(own), -1)
            into = sums @ factors[:, :n_mixed].reshape(-1, n_vectors)
            if n_mixed < part.pairs.size:
                # a correction, for which the mean spectrum of these positions will do
                by_pair = (part.mix[:, n_mixed:, used] * own[:, None]).mean(axis=0)
                share = self._pairs.weight[part.at, n_mixed:]
                mean = share.mean(axis=0)
                by_pair /= np.where(mean == 0, 1.0, mean)[:, None]
                into += share @ np.einsum("pu,upv->pv", by_pair, factors[:, n_mixed:])
            found[:, part.at] = into.T
        return found

    def held(self) -> Floats:
        """Return the least part of a source that the kernel holds, by energy."""
        at = self.sample(9)
        inside = np.minimum(self._plain(at).sum(axis=(2, 3)), 1.0)
        seen = self.amplitude[at] > 0
        least = np.where(seen, inside, np.inf).min(axis=0, initial=np.inf)
        return np.where(np.isfinite(least), least, 0.0)


def _with_shape(images: Floats, shape: tuple[int, int]) -> Floats:
    """Crop images, or put zeros around them."""
    lead = images.shape[:2]
    return with_shape(images.reshape(-1, *images.shape[2:]), shape).reshape(*lead, *shape)


def _pairs(psf: PSFMap | None, geom: WcsGeom, positions: Positions) -> _Pairs:
    """Pair the responses and pixel shapes around each position."""
    shapes = stencil(positions.rows, positions.columns, shape_lines(geom))
    responses = _response_stencil(psf, positions)
    cell = shapes.cell * (int(responses.cell.max(initial=0)) + 1) + responses.cell
    mixed = 0
    if len(shapes.nodes) == 1 or len(responses.nodes) == 1:
        # pairs by number: shape times the number of responses plus response
        which = shapes.which[:, :, None] * len(responses.nodes) + responses.which[:, None]
        weight = shapes.weight[:, :, None] * responses.weight[:, None]
    else:
        which, weight = _added(shapes, responses, geom, positions)
        mixed = responses.which.shape[1]
    which, weight = which.reshape(len(cell), -1), weight.reshape(len(cell), -1)
    mixed = mixed or which.shape[1]
    used = np.unique(which[weight != 0])
    nodes: Nodes = {}
    for pair in used.tolist():
        shape, response = divmod(pair, len(responses.nodes))
        row, column = (int(c) for c in responses.nodes[response])
        place = float(shapes.nodes[shape, 0]), float(shapes.nodes[shape, 1])
        nodes.setdefault(place, []).append((row, column))
    number = np.zeros(len(shapes.nodes) * len(responses.nodes), np.int64)
    number[used] = np.arange(used.size)
    return _Pairs(nodes, number[which], weight, cell, mixed)


def _added(
    shapes: Stencil, responses: Stencil, geom: WcsGeom, positions: Positions
) -> tuple[Integers, Floats]:
    """Add what changes with the shape of pixels to what changes with the response."""
    # Both change little over a field that is wide enough for the shape of pixels to matter and has
    # more than one response. Each response is taken on the pixels of the middle; what another
    # shape changes is found with the response nearest to its node.
    number = len(responses.nodes)
    middle_node = int(np.argmin(((shapes.nodes - middle(geom)) ** 2).sum(axis=1)))
    nearest = np.empty(len(shapes.nodes), np.int64)
    largest = responses.which[np.arange(len(responses.which)), responses.weight.argmax(axis=1)]
    for index, (row, column) in enumerate(shapes.nodes):
        apart = (positions.rows - row) ** 2 + (positions.columns - column) ** 2
        nearest[index] = largest[np.argmin(apart)]
    there = nearest[shapes.which]
    which = np.concatenate(
        [
            middle_node * number + responses.which,
            shapes.which * number + there,
            middle_node * number + there,
        ],
        axis=1,
    )
    weight = np.concatenate([responses.weight, shapes.weight, -shapes.weight], axis=1)
    return which, weight


def _response_stencil(psf: PSFMap | None, positions: Positions) -> Stencil:
    """Return the pixels of a response's map that it is mixed from at each position."""
    if psf is None or psf.is_single or positions.sky is None:
        zero = np.zeros(positions.rows.size)
        return stencil(zero, zero, (np.zeros(1), np.zeros(1)))
    x, y = psf.pixels_at(positions.sky)
    ny, nx = psf.psf_map.geom.shape_image
    return stencil(y, x, (response_lines(y, ny), response_lines(x, nx)))


def _dispersions(
    edisp: Dispersion | None, axis_true: MapAxis, axis: MapAxis, positions: Positions
) -> tuple[Floats, Integers]:
    """Return the energy dispersions, shape (n, n_true, n_reco), and which is at each position."""
    nowhere = np.zeros(positions.rows.size, np.int64)
    if edisp is None:
        return diagonal_edisp(axis_true, axis)[None], nowhere
    if positions.sky is None:
        return edisp.get_edisp_kernel(None, axis)[None], nowhere
    return edisp.matrices_at(positions.sky, axis)


def _by_region(expected: Floats, matrices: Floats, region: Integers) -> Floats:
    """Apply the energy dispersion of each position, shape (n, energies)."""
    found = np.empty((len(expected), matrices.shape[2]))
    for number, matrix in enumerate(matrices):
        there = slice(None) if len(matrices) == 1 else region == number
        found[there] = expected[there] @ matrix
    return found


def _traced(matrices: Floats) -> Floats:
    """Give energies that nothing disperses into at some positions what they have elsewhere."""
    empty = ~matrices.any(axis=1, keepdims=True)
    return np.where(empty, _TRACE * matrices.mean(axis=0), matrices)


def _filled(node: NodeImages, nodes: Nodes) -> tuple[Floats, Floats]:
    """Give energies without a response at some nodes the image of the nearest that has one."""
    images, totals = node.images, node.totals
    empty = totals <= 0
    if not empty.any():
        return images, totals
    images, totals = images.copy(), totals.copy()
    places = np.array([(*place, *pixel) for place, some in nodes.items() for pixel in some])
    for energy in np.flatnonzero(empty.any(axis=0) & ~empty.all(axis=0)):
        full = np.flatnonzero(~empty[:, energy])
        for pair in np.flatnonzero(empty[:, energy]):
            nearest = full[np.argmin(((places[full] - places[pair]) ** 2).sum(axis=1))]
            images[pair, energy] = images[nearest, energy]
            totals[pair, energy] = _TRACE * totals[nearest, energy]
    return images, totals
