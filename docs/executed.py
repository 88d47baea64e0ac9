"""Pages that run when the documentation is built: their blocks of Python, with what they show.

After each block of such a page stand the outputs and pictures it makes. The blocks share a process
and their names. What a page showed is kept until its code or the library changes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
from pathlib import Path

import nbformat
from sphinx.application import Sphinx

DOCS = Path(__file__).parent
KEPT = DOCS / "_build" / "executed"
PAGES = ("index", "getting_started")

sys.path.insert(0, str(DOCS.parent / "notebooks"))
from execute import execute, shown  # noqa: E402

for chatty in ("gammagrad", "jax", "traitlets"):
    logging.getLogger(chatty).setLevel(logging.WARNING)

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _state() -> bytes:
    """Return what the outputs depend on besides the page: the library's files."""
    source = DOCS.parent / "src"
    files = (path for path in sorted(source.rglob("*.py")))
    return b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)


def executed(name: str, text: str) -> nbformat.NotebookNode:
    """Run the blocks of a page, unless that was done before."""
    codes = [found[1] for found in _BLOCK.finditer(text)]
    key = hashlib.sha256("\0".join(codes).encode() + _state()).hexdigest()[:16]
    path = KEPT / f"{name}-{key}.ipynb"
    if path.exists():
        return nbformat.read(path, as_version=4)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in codes])
    backend = os.environ.pop("MPLBACKEND", None)  # a kernel must draw inline
    try:
        execute(notebook)
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    for old in KEPT.glob(f"{name}-*.ipynb"):
        old.unlink()
    nbformat.write(notebook, path)
    return notebook


def insert_outputs(app: Sphinx, name: str, source: list[str]) -> None:
    """Put the outputs of a page's blocks below them."""
    del app
    if name not in PAGES:
        return
    KEPT.mkdir(parents=True, exist_ok=True)
    cells = iter(executed(name, source[0]).cells)
    number = iter(range(len(source[0])))

    def with_output(found: re.Match[str]) -> str:
        output = shown(next(cells), f"{name}_{next(number)}", KEPT, "_build/executed/")
        return f"{found[0]}\n\n{output}" if output else found[0]

    source[0] = _BLOCK.sub(with_output, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the step to the build."""
    app.connect("source-read", insert_outputs)
    return {"parallel_read_safe": True}
