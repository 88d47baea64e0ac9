"""What a map looks like when printed, and in a notebook."""

from __future__ import annotations

from typing import Any

import numpy as np

from gammagrad._html import as_html, named_values


def map_text(m: Any) -> str:
    """Return a map as text: its axes, shape, unit and type."""
    sky = [] if m.geom.is_region else ["lon", "lat"]
    return (
        f"{type(m).__name__}\n\n"
        f"\tgeom  : {type(m.geom).__name__}\n"
        f"\taxes  : {sky + m.geom.axes.names}\n"
        f"\tshape : {m.geom.data_shape[::-1]}\n"
        f"\tndim  : {m.data.ndim}\n"
        f"\tunit  : {str(m.unit)!r}\n"
        f"\tdtype : {m.data.dtype}\n"
    )


def map_html(m: Any) -> str:
    """Return a map as a table: where it is, and what values it has."""
    finite = m.data[np.isfinite(m.data)]
    values = {
        "geometry": repr(m.geom) if m.geom.is_region else m.geom.summary(),
        "axes": [f"{axis.name} ({axis.nbin})" for axis in m.geom.axes] or "none",
        "shape of the data": m.data.shape,
        "unit": str(m.unit) or "none",
        "type": str(m.data.dtype),
    }
    if m.is_mask:
        values["values"] = f"{np.count_nonzero(finite)} of {m.data.size} true"
    elif finite.size:
        values["values"] = f"{finite.min():.5g} to {finite.max():.5g}, sum {finite.sum():.6g}"
    return as_html(type(m).__name__, named_values(values))
