"""How a background loop ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gammagrad._html import as_html, named_values
from gammagrad.maps import Map


@dataclass(frozen=True)
class BackgroundReport:
    """How the loop of `KernelBackgroundEstimator` ended.

    Parameters
    ----------
    niter : int
        Number of iterations done.
    converged : bool
        Whether the last iteration left the mask unchanged.
    period : int
        Length in iterations of a cycle of masks; 0 if there is none.
    kept : Map
        Image, true where every pixel under the background kernel is excluded, so that the
        background keeps its previous value.
    n_excluded : tuple of int
        Number of excluded pixels, at the start and after each iteration if a record was kept,
        otherwise at the end only.

    Examples
    --------
    >>> kept = Map.create(npix=10, data=False)
    >>> print(BackgroundReport(3, True, 0, kept, (11,)))
    The mask converged after 3 iterations; 11 of 100 pixels are excluded.
    """

    niter: int
    converged: bool
    period: int
    kept: Map
    n_excluded: tuple[int, ...]

    @property
    def n_kept(self) -> int:
        """Number of pixels that keep their previous background."""
        return int(self.kept.data.sum())

    @property
    def meta(self) -> dict[str, Any]:
        """Entries for the ``meta`` of maps: niter, converged, period, n_kept and status."""
        return {
            "niter": self.niter,
            "converged": self.converged,
            "period": self.period,
            "n_kept": self.n_kept,
            "status": str(self),
        }

    def __str__(self) -> str:
        size = f"{self.n_excluded[-1]} of {self.kept.data.size} pixels are excluded."
        text = f"{self._end}; {size}"
        if n_kept := self.n_kept:
            pixels = "1 pixel" if n_kept == 1 else f"{n_kept} pixels"
            text += (
                f" At {pixels} every pixel under the background kernel is excluded, and the "
                "previous background is kept."
            )
        return text

    def _repr_html_(self) -> str:
        values = {
            "iterations": self.niter,
            "converged": self.converged,
            "excluded": f"{self.n_excluded[-1]} of {self.kept.data.size} pixels",
        }
        return as_html(f"{self._end}.", named_values(values))

    @property
    def _end(self) -> str:
        done = "1 iteration" if self.niter == 1 else f"{self.niter} iterations"
        if self.niter == 0:
            return "No iteration was done, this is the start"
        if self.converged:
            return f"The mask converged after {done}"
        if self.period:
            return (
                f"The masks repeat every {self.period} iterations and will not converge "
                f'(mask_update="grow" always does); stopped after {done}'
            )
        return f"Stopped after {done}, before the mask had converged"
