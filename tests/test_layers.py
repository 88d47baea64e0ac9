"""Hold the code to the architecture of `layers.py`, by reading its imports without running it."""

from __future__ import annotations

import ast
import functools
import importlib.util
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from gammagrad._upper import UPPER

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src" / "gammagrad"
MAX_LINES_OF_FILE = 300
MAX_LINES_OF_FUNCTION = 60


def load(path: Path) -> ModuleType:
    """Import a file that belongs to no package."""
    spec = importlib.util.spec_from_file_location(f"gammagrad_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


layers = load(TESTS / "layers.py")

LEVEL = {part: depth for depth, level in enumerate(layers.HOST) for part in level}
LOWEST = len(layers.HOST)
LEVEL |= dict.fromkeys(layers.HELPERS, LEVEL["evaluate"])
LEVEL |= dict.fromkeys(layers.TRACED, LOWEST) | dict.fromkeys(layers.GROUND, LOWEST + 1)


@dataclass(frozen=True)
class Import:
    """One import statement: who, what, where, and whether a function holds it."""

    importer: str  # dotted, without the package's own name; "" is the package itself
    target: str  # the same for a module of the package, else the outside module in full
    inside: bool  # is the target part of the package
    line: int
    in_function: bool = False

    def __str__(self) -> str:
        return f"{self.importer or '__init__'} (line {self.line}) imports {self.target or 'itself'}"


def module_files(source: Path) -> dict[str, Path]:
    """Return the files of a package by dotted name."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _statements(
    node: ast.AST, in_function: bool = False
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Walk a file's import statements, with whether a function holds them."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, in_function
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _statements(child, in_function or is_function)


def _targets(statement: ast.Import | ast.ImportFrom, name: str, path: Path, root: str) -> list[str]:
    """Return the full names that a statement of module `name` imports."""
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    base = statement.module or ""
    if statement.level:
        package = [root, *(name.split(".") if name else [])]
        up = statement.level - (1 if path.name == "__init__.py" else 0)
        base = ".".join([*package[: len(package) - up], *([base] if base else [])])
    return [f"{base}.{alias.name}" for alias in statement.names]


def face_names(files: dict[str, Path]) -> set[str]:
    """Return the names that faces offer, in full."""
    found = set()
    for wing, path in files.items():
        if path.name == "__init__.py":
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                    found |= {f"{wing}.{name}" for name in ast.literal_eval(node.value)}
    return found


@functools.cache
def imports_of(source: Path) -> list[Import]:
    """Return every import of every file of a package, wherever in the file it stands."""
    files = module_files(source)
    root, names = source.name, face_names(files)
    found = []
    for name, path in files.items():
        for statement, in_function in _statements(ast.parse(path.read_text(encoding="utf-8"))):
            for full in _targets(statement, name, path, root):
                # a face's name may be that of the file which defines it
                if full.removeprefix(f"{root}.") in names:
                    full = full.rpartition(".")[0]
                inside = full == root or full.startswith(f"{root}.")
                target = full.removeprefix(root).removeprefix(".") if inside else full
                # `from gammagrad.maps import Map` imports gammagrad.maps
                if inside and target not in files:
                    target = target.rpartition(".")[0]
                if not (inside and target == name):
                    found.append(Import(name, target, inside, statement.lineno, in_function))
    return list(dict.fromkeys(found))


def _part(module: str) -> str:
    return module.split(".")[0]


def _is_in(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def layer_breach(imp: Import) -> str | None:
    """Return what is wrong with an import inside the package, or None."""
    here, there = _part(imp.importer), _part(imp.target)
    if here in layers.FACADES:
        allowed = layers.FACADES[here]
        return None if "*" in allowed or there in allowed else "a facade re-exports only its own"
    if there in layers.FACADES:
        return "import the name from the module that defines it, not from a facade"
    if here == there:
        return _order_breach(here, imp)
    if here not in LEVEL or there not in LEVEL:
        return f"{here if here not in LEVEL else there!r} has no place in tests/layers.py"
    if there in layers.GROUND:
        return None
    if here in layers.GROUND or here in layers.TRACED:
        return f"{here} knows nothing of {there}"
    if there in layers.TRACED:
        return None if _is_in(imp.importer, layers.CALLS_TRACED) else "it may not call traced code"
    if (here, there) in layers.SIDEWAYS or LEVEL[here] < LEVEL[there]:
        return None
    return f"{there} is not below {here}"


def _order_breach(package: str, imp: Import) -> str | None:
    """Return what is wrong with an import between two wings of a package, or None."""
    if package not in layers.INSIDE or package in (imp.importer, imp.target):
        return None
    here, there = imp.importer.split(".")[1], imp.target.split(".")[1]
    level = {wing: n for n, wings in enumerate(layers.INSIDE[package]) for wing in wings}
    for wing in (here, there):
        if wing not in level:
            return f"{package}.{wing} has no place in INSIDE[{package!r}] of tests/layers.py"
    return None if here == there or level[here] < level[there] else f"{there} is not below {here}"


def wing_breach(imp: Import, files: dict[str, Path]) -> str | None:
    """Return what is wrong with an import that reaches behind the face of another wing, or None."""
    parts = imp.target.split(".")
    for length in range(1, len(parts)):
        wing = ".".join(parts[:length])
        faced = files[wing].name == "__init__.py" and wing not in layers.FOLDERS
        if faced and not _is_in(imp.importer, (wing,)):
            return f"it reaches behind {wing}; import from gammagrad.{wing}"
    return None


def library_breach(imp: Import) -> str | None:
    """Return what is wrong with an import of an outside library, or None."""
    top = imp.target.split(".")[0]
    if any(part.startswith("_") for part in imp.target.split(".") if not part.startswith("__")):
        return "a private name of a library"
    owned = [lib for lib in layers.OWNERS if imp.target == lib or imp.target.startswith(f"{lib}.")]
    for library in owned:
        if not _is_in(imp.importer, layers.OWNERS[library]):
            return f"{library} belongs to {', '.join(layers.OWNERS[library])}"
    known = top in layers.LIBRARIES_FOR_ALL | layers.OPTIONAL or top in sys.stdlib_module_names
    if not owned and not known:
        return f"{top} has no owner in tests/layers.py"
    part = imp.importer.partition(".")[0]
    if top in layers.OPTIONAL and not imp.in_function and layers.ONLY_WITH.get(part) != top:
        return f"{top} is optional: import it in the function that needs it"
    if top in layers.LAZY and not imp.in_function:
        return f"{top} is slow to import: import it in the function that needs it"
    traced = _part(imp.importer) in layers.TRACED
    if traced and top not in layers.TRACED_LIBRARIES and top not in sys.stdlib_module_names:
        return f"traced code uses only {', '.join(sorted(layers.TRACED_LIBRARIES))}"
    return None


def cycles(imports: list[Import]) -> list[str]:
    """Return the import cycles between modules, those through a function's import as well."""
    graph: dict[str, set[str]] = {}
    for imp in imports:
        if imp.inside:
            graph.setdefault(imp.importer, set()).add(imp.target)
    found: list[str] = []
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> None:
        if module in trail:
            loop = [*trail[trail.index(module) :], module]
            found.append(" -> ".join(name or "__init__" for name in loop))
            return
        if module not in done:
            for target in sorted(graph.get(module, ())):
                visit(target, [*trail, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found


def breaches(source: Path) -> list[str]:
    """Return every breach of the rules on imports, one sentence each."""
    found, files = [], module_files(source)
    for imp in imports_of(source):
        if imp.inside:
            wrong = layer_breach(imp) or (imp.importer and wing_breach(imp, files))
        else:
            wrong = library_breach(imp)
        if wrong:
            found.append(f"{imp}: {wrong}")
    return found


def names_looked_up(source: Path) -> set[tuple[str, str]]:
    """Return who calls `_upper.upper`, and with which name."""
    found = set()
    for module, path in module_files(source).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            # the table's own file looks up what is asked for
            called = isinstance(node, ast.Call) and ast.unparse(node.func) == "upper"
            if isinstance(node, ast.Call) and called and module != "_upper":
                found.add((module, ast.literal_eval(node.args[0])))
    return found


def upper_breaches(source: Path, table: dict[str, str]) -> list[str]:
    """Return what is wrong with a table of functions that lower parts call in upper ones."""
    files, calls = module_files(source), names_looked_up(source)
    found = [f"{name}: no entry" for _, name in calls if name not in table]
    for name, module in table.items():
        defined = (
            ast.parse(files[module].read_text(encoding="utf-8")).body if module in files else ()
        )
        if name not in {node.name for node in defined if isinstance(node, ast.FunctionDef)}:
            found.append(f"{name}: not a function of {module}")
        callers = [caller for caller, called in calls if called == name]
        if not callers:
            found.append(f"{name}: nobody calls it")
        here = LEVEL[_part(module)]
        found += [
            f"{name}: {caller} is not below {module}; let it import the function"
            for caller in callers
            if LEVEL[_part(caller)] <= here
        ]
    return found


def _code_lines(text: str) -> int:
    """Count the lines of code: no docstrings, comments and blank lines."""
    lines = text.splitlines()
    words = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            value = getattr(statement, "value", None)
            if isinstance(statement, ast.Expr) and isinstance(getattr(value, "value", None), str):
                words.update(range(statement.lineno, (statement.end_lineno or 0) + 1))
    return sum(
        bool(line.strip()) and not line.strip().startswith("#") and number not in words
        for number, line in enumerate(lines, start=1)
    )


def _functions(text: str) -> Iterator[tuple[str, str]]:
    """Yield the names of functions and their texts, indented as at the top of a file."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
            yield node.name, textwrap.dedent("\n".join(lines))


# ---------------------------------------------------------------- the package


@pytest.mark.parametrize("name", sorted(module_files(SOURCE)), ids=lambda n: n or "__init__")
def test_a_module_keeps_to_its_layer(name: str) -> None:
    assert [b for b in breaches(SOURCE) if b.startswith(f"{name or '__init__'} (")] == []


def test_every_part_of_the_table_exists() -> None:
    wanted = {*LEVEL, *layers.FACADES} - {""}
    found = {_part(name) for name in module_files(SOURCE)} - {""}
    assert wanted == found
    for package, levels in layers.INSIDE.items():
        wings = {n.split(".")[1] for n in module_files(SOURCE) if n.startswith(f"{package}.")}
        assert wings == {wing for level in levels for wing in level}


def test_no_module_imports_itself_through_others() -> None:
    assert cycles(imports_of(SOURCE)) == []


def test_what_lower_parts_call_in_upper_ones_is_there_and_above_them() -> None:
    assert upper_breaches(SOURCE, UPPER) == []
    # and there is no other way: the facade's names are for users
    found = {i.importer for i in imports_of(SOURCE) if i.target == "importlib.import_module"}
    assert found == {"", "_upper"}


def test_no_global_setting_of_jax_is_touched_and_one_place_registers_pytrees() -> None:
    # but that the command line, which owns its process, keeps compiled code
    found = []
    for name, path in module_files(SOURCE).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Attribute):
                continue
            dotted = ast.unparse(node)
            setting = dotted == "jax.config.update" and name != "cli.compile_cache"
            if setting or ".config.jax_" in dotted or "._src" in dotted:
                found.append(f"{name} (line {node.lineno}): {dotted}")
            if node.attr.startswith("register_") and "jax" in dotted and name != "_pytree":
                found.append(f"{name} (line {node.lineno}): {dotted} belongs to _pytree")
    assert found == []


def test_files_and_functions_fit_a_readers_eye() -> None:
    found = []
    for name, path in module_files(SOURCE).items():
        text = path.read_text(encoding="utf-8")
        if (lines := _code_lines(text)) >= MAX_LINES_OF_FILE:
            found.append(f"{name}: {lines} lines of code, fewer than {MAX_LINES_OF_FILE} wanted")
        for function, code in _functions(text):
            if (lines := _code_lines(code)) >= MAX_LINES_OF_FUNCTION:
                found.append(f"{name}.{function}: {lines} lines of code")
    assert found == []


def names_given_twice(text: str) -> list[str]:
    """Return the names that the top of a file defines more than once: the last one is meant."""
    found: Counter[str] = Counter()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            overloads = any("overload" in ast.unparse(mark) for mark in node.decorator_list)
            found[node.name] += not overloads
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [name for target in targets for name in ast.walk(target)]
            found.update(
                name.id
                for name in names
                if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
            )
    return [name for name, number in found.items() if number > 1]


@pytest.mark.parametrize("name", sorted(module_files(SOURCE)), ids=lambda n: n or "__init__")
def test_no_file_gives_a_name_twice(name: str) -> None:
    assert names_given_twice(module_files(SOURCE)[name].read_text(encoding="utf-8")) == []


def test_the_picture_in_the_documentation_is_the_table() -> None:
    draw = load(TESTS.parent / "docs" / "draw_layers.py")
    stored = (TESTS.parent / "docs" / "layers.svg").read_text(encoding="utf-8")
    assert stored == draw.svg(layers), "run: python docs/draw_layers.py"


# ---------------------------------------------------------------- the checks themselves


def make_package(folder: Path, **files: str) -> Path:
    """Write a package named gammagrad; keyword `maps__geom` is the file maps/geom.py."""
    source = folder / "gammagrad"
    source.mkdir()
    (source / "__init__.py").touch()
    for name, text in files.items():
        path = source / (name.replace("__", "/") + ".py")
        path.parent.mkdir(exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
    return source


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("core__solve", "from gammagrad.models import Sky", "core knows nothing of models"),
        ("core__solve", "import astropy.units as u", "traced code uses only"),
        ("models__sky", "from ..maps import map", "models knows nothing of maps"),
        ("maps__geom", "from .map import Map", "map is not below geom"),
        ("cli", "from gammagrad.maps.map import Map", "reaches behind maps"),
        ("maps__map", "from gammagrad.core import stats", "may not call traced code"),
        ("maps__map", "from astropy.wcs import WCS", "astropy.wcs belongs to maps.geom"),
        (
            "maps__geom",
            "def f():\n    from astropy.io import fits",
            "astropy.io.fits belongs to io",
        ),
        ("io__table", "from gammagrad import dataset", "dataset is not below io"),
        (
            "dataset",
            "def f():\n    import gammagrad.estimators.ts_map.estimator",
            "is not below dataset",
        ),
        ("dataset", "from gammagrad import Map", "not from a facade"),
        ("plot", "import matplotlib.pyplot as plt", "matplotlib is optional"),
        ("dataset", "import scipy", "scipy belongs to maps"),
        ("maps__map", "from scipy import ndimage", "scipy is slow to import"),
        ("dataset", "import pandas", "pandas has no owner"),
        ("core__solve", "from jax._src import core", "a private name"),
        ("surprise", "import gammagrad.maps", "has no place"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, file: str, text: str, why: str) -> None:
    others = dict.fromkeys(["maps__map", "models__spectral", "core__stats"], "")
    others |= {"dataset": "", "estimators__ts_map": "", "maps__units": ""}
    found = breaches(make_package(tmp_path, **(others | {file: text})))
    assert len(found) == 1
    assert why in found[0]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("maps__irf", "import gammagrad.core.stats\nfrom .units import x"),
        (
            "estimators__ts_map",
            "from gammagrad.core.stats import cash\nfrom ..maps import Map",
        ),
        ("plot", "def f():\n    import matplotlib.pyplot as plt\n    from astropy import units"),
        ("io__table", "from astropy.io import fits"),
        ("cli", "import argparse\nfrom gammagrad.maps import Map"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, file: str, text: str) -> None:
    others = dict.fromkeys(["maps__map", "maps__units", "core__stats"], "")
    assert breaches(make_package(tmp_path, **(others | {file: text}))) == []


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({}, "plot_map: no entry"),
        ({"plot_map": "plot.air"}, "plot_map: not a function of plot.air"),
        ({"plot_map": "plot.sky"}, "plot_map: not a function of plot.sky"),
        ({"plot_map": "plot.earth", "read": "plot.earth"}, "read: nobody calls it"),
        ({"plot_map": "core.earth"}, "plot_map: maps.map is not below core.earth"),
    ],
)
def test_a_wrong_entry_for_an_upper_part_is_found(
    tmp_path: Path, table: dict[str, str], why: str
) -> None:
    there = "def plot_map(): ...\ndef read(): ..."
    files = {"plot__sky": "plot_map = 1", "plot__earth": there, "core__earth": there}
    source = make_package(tmp_path, **files, maps__map='upper("plot_map")()')
    (wrong,) = upper_breaches(source, table)
    assert wrong.startswith(why)
    assert upper_breaches(source, {"plot_map": "plot.earth"}) == []


def test_a_cycle_through_a_function_is_found(tmp_path: Path) -> None:
    source = make_package(
        tmp_path, io__a="from . import b", io__b="def f():\n    import gammagrad.io.a"
    )
    assert cycles(imports_of(source)) == ["io.a -> io.b -> io.a"]


def test_lines_of_a_docstring_do_not_count() -> None:
    text = (
        'class A:\n    def f():\n        """One.\n\n        Two.\n        """\n        return 1\n'
    )
    assert _code_lines(text) == 3
    assert [(name, _code_lines(code)) for name, code in _functions(text)] == [("f", 2)]


def test_a_name_that_is_given_twice_is_found() -> None:
    assert names_given_twice("STEP, LAST = 1, 2\ndef f(): ...\nSTEP = 3\nx.y = LAST") == ["STEP"]
