"""Links to the documentation of other projects, without a network: the names that are linked to.

Sphinx reads inventories of other projects. Those here are written from the table below, so that a
build needs no network, and a change of what is linked to can be read.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

CLASSES, FUNCTIONS, DATA, LABEL = "py:class", "py:function", "py:data", "std:label"

PYTHON = "https://docs.python.org/3/"
# address of a project, place of an entry below it ({name} is the name), kind, names
PROJECTS: dict[str, tuple[str, tuple[tuple[str, str, str], ...]]] = {
    "astropy": (
        "https://docs.astropy.org/en/stable/",
        (
            (
                "api/{name}.html#{name}",
                CLASSES,
                "astropy.units.Quantity astropy.units.Unit astropy.coordinates.SkyCoord "
                "astropy.coordinates.Angle astropy.table.Table astropy.table.QTable "
                "astropy.wcs.WCS astropy.time.Time astropy.convolution.Tophat2DKernel "
                "astropy.convolution.Ring2DKernel astropy.convolution.Kernel2D "
                "astropy.visualization.wcsaxes.WCSAxes",
            ),
        ),
    ),
    "numpy": (
        "https://numpy.org/doc/stable/",
        (
            ("reference/generated/{name}.html#{name}", CLASSES, "numpy.ndarray"),
            ("reference/typing.html#{name}", DATA, "numpy.typing.ArrayLike"),
        ),
    ),
    "scipy": (
        "https://docs.scipy.org/doc/scipy/",
        (
            (
                "reference/generated/{name}.html#{name}",
                FUNCTIONS,
                "scipy.optimize.minimize scipy.signal.fftconvolve scipy.ndimage.label",
            ),
        ),
    ),
    "jax": (
        "https://docs.jax.dev/en/latest/",
        (
            ("_autosummary/{name}.html#{name}", CLASSES, "jax.Array"),
            (
                "_autosummary/{name}.html#{name}",
                FUNCTIONS,
                "jax.grad jax.jit jax.vmap jax.jvp jax.vjp jax.value_and_grad jax.hessian "
                "jax.custom_jvp jax.enable_x64 jax.lax.while_loop jax.lax.stop_gradient "
                "jax.scipy.signal.convolve jax.scipy.signal.fftconvolve",
            ),
        ),
    ),
    "matplotlib": (
        "https://matplotlib.org/stable/",
        (
            ("api/_as_gen/{name}.html#{name}", CLASSES, "matplotlib.axes.Axes"),
            ("api/_as_gen/{name}.html#{name}", CLASSES, "matplotlib.colors.Normalize"),
            ("api/_as_gen/{name}.html#{name}", CLASSES, "matplotlib.colors.Colormap"),
            ("api/figure_api.html#{name}", CLASSES, "matplotlib.figure.Figure"),
        ),
    ),
    "python": (
        PYTHON,
        (
            (
                "library/exceptions.html#{name}",
                "py:exception",
                "ValueError TypeError KeyError OSError ImportError FileNotFoundError "
                "FileExistsError AttributeError IndexError UserWarning",
            ),
            (
                "library/collections.abc.html#{name}",
                CLASSES,
                "collections.abc.Mapping collections.abc.Sequence collections.abc.Iterable "
                "collections.abc.Callable",
            ),
            ("library/pathlib.html#{name}", CLASSES, "pathlib.Path"),
            # what numpydoc calls common types
            ("library/stdtypes.html#{name}", LABEL, "bltin-boolean-values typesmapping"),
            ("glossary.html#term-{name}", "std:term", "sequence iterable iterator dictionary"),
            (
                "library/stdtypes.html#{name}",
                CLASSES,
                "str int float bool dict list tuple set bytes complex",
            ),
        ),
    ),
}

ALIASES = {
    "Quantity": "astropy.units.Quantity",
    "SkyCoord": "astropy.coordinates.SkyCoord",
    "WCSAxes": "astropy.visualization.wcsaxes.WCSAxes",
    "Table": "astropy.table.Table",
    "QTable": "astropy.table.QTable",
    "ndarray": "numpy.ndarray",
    "array_like": "numpy.typing.ArrayLike",
    "Colormap": "matplotlib.colors.Colormap",
}
"""How docstrings call what they take and return, where that is not the whole name."""


def inventory(project: str) -> bytes:
    """Return the inventory of a project, in the second version of the format of Sphinx."""
    lines = [
        f"{name} {kind} 1 {place.format(name=name)} {name if kind == LABEL else '-'}"
        for place, kind, names in PROJECTS[project][1]
        for name in names.split()
    ]
    head = (
        f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
        "# The remainder of this file is compressed using zlib.\n"
    )
    return head.encode() + zlib.compress("\n".join(lines).encode() + b"\n")


def write_inventories(app: Sphinx, config: Config) -> None:
    """Write the inventories where intersphinx reads them."""
    folder = Path(app.doctreedir)
    folder.mkdir(parents=True, exist_ok=True)
    for project, (address, _) in PROJECTS.items():
        path = folder / f"{project}.inv"
        path.write_bytes(inventory(project))
        config.intersphinx_mapping[project] = (address, str(path))


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the inventories before intersphinx looks for them."""
    app.connect("config-inited", write_inventories, priority=1)
    return {"parallel_read_safe": True}
