"""The architecture as a table: the parts of gammagrad, and who may import whom.

`tests/test_layers.py` holds the code to it, and `docs/draw_layers.py` draws it.
"""

from __future__ import annotations

# Host side, from the user's end down: a part may import every part of the levels below its own.
HOST: tuple[dict[str, str], ...] = (
    {"cli": "the command line"},
    {"demo": "a simulated field, found again", "interop": "gammapy's objects"},
    {
        "estimators": "maps in, flux maps out",
        "fitting": "models to datasets",
        "simulate": "Poisson fields",
        "plot": "figures",
    },
    {
        "dataset": "named maps, npred, stat",
        "flux_maps": "the result of an estimator",
        "peaks": "sources in a map",
        "distribution": "mean and width of significances",
        "exclusion": "masks of areas and sources",
    },
    {"evaluate": "a sky model on a geometry", "derive": "fluxes and signs from norms"},
    {"io": "one file per format"},
    {"maps": "units and sky coordinates", "output_quantities": "the table of output maps"},
)

# Traced side: arrays in, arrays out. The parts do not know each other, nor anything of the host.
TRACED: dict[str, str] = {
    "core": "Cash, solver, convolution, folding",
    "models": "spectral, spatial and sky models",
}

# The ground that both sides stand on.
GROUND: dict[str, str] = {
    "errors": "exceptions and warnings",
    "_arrays": "arrays of other libraries, for JAX",
    "_pytree": "frozen dataclass -> JAX pytree",
    "_programs": "few compiled programs",
    "_html": "tables for notebooks",
    "_upper": "functions of upper parts, by name",
}

# Helpers of the estimators; they know nothing of maps.
HELPERS: dict[str, str] = {
    "progress": "the progress bar",
    "parallel": "work shared out among processes",
}

# Facades that only re-export: the package itself, and the places where people look for names.
FACADES: dict[str, tuple[str, ...]] = {
    "": ("*",),
    "stats": ("core",),
    "responses": ("core",),
    "datasets": ("dataset",),
    "irf": ("maps",),
    "makers": ("estimators",),
    "modeling": ("models", "modeling"),
    "__main__": ("cli",),
}

# The parts of the host that call traced code.
CALLS_TRACED = (
    *("cli", "demo", "interop", "estimators", "fitting", "simulate", "plot"),
    *("dataset", "flux_maps", "peaks", "evaluate", "derive", "maps.irf"),
)

# Imports inside one level, each for a reason.
SIDEWAYS: dict[tuple[str, str], str] = {
    ("flux_maps", "peaks"): "FluxMaps.find_peaks is a method, its algorithm is not",
}

# Order of the wings inside a package, the most dependent first: each imports from those after it.
# Wings on one line do not know each other.
INSIDE: dict[str, tuple[tuple[str, ...], ...]] = {
    "core": (("background",), ("ts_map",), ("norm", "fold"), ("stats", "images")),
    "estimators": (
        ("config",),
        ("ts_map", "kernel_background", "lima", "background_norm", "ring_background"),
        ("settings", "utils"),
    ),
    "maps": (("irf",), ("map",), ("geom",), ("axes",), ("units",)),
}

# Folders without a face: what is in them is imported by its own name.
FOLDERS = frozenset({"", "core", "estimators"})

# Libraries that the traced code may use.
TRACED_LIBRARIES = frozenset({"jax", "numpy", "optax", "scipy"})

# Each outside library has its owners, which may be parts that are still to come. What is not named
# here, and is not in LIBRARIES_FOR_ALL or Python's own, may not be imported at all.
OWNERS: dict[str, tuple[str, ...]] = {
    "astropy.wcs": ("maps.geom",),
    "astropy.io.fits": ("io",),
    "gammapy": ("interop",),
    "matplotlib": ("plot",),
    "loky": ("parallel",),
    "concurrent.futures": ("parallel", "core.ts_map"),
    "ray": ("parallel",),
    "scipy": ("maps", "core.images", "plot", "distribution"),
    "tqdm": ("progress",),
    "argparse": ("cli",),
    "optax": ("fitting", "core", "models"),
}
LIBRARIES_FOR_ALL = frozenset({"astropy", "jax", "numpy"})

# Imported inside functions, so that those who do not need them start sooner.
LAZY = frozenset({"loky", "scipy"})

# Optional packages: imported inside functions, so that the rest works without them.
OPTIONAL = frozenset({"gammapy", "matplotlib", "ray", "regions", "yaml"})

# Parts that are of no use without an optional package, and import it at once.
ONLY_WITH = {"interop": "gammapy"}
