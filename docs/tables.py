"""Tables of the documentation that are read from the code, so that they stay true."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import draw_layers
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from gammagrad.cli import main
from gammagrad.core.norm import STATUS
from gammagrad.quantities import QUANTITIES

SOURCE = Path(__file__).parent.parent / "src" / "gammagrad"


def table(head: Iterable[str], rows: Iterable[Iterable[nodes.Node]]) -> nodes.table:
    """Return a table whose first column is names."""
    head, rows = list(head), [list(row) for row in rows]
    group = nodes.tgroup(cols=len(head))
    group.extend(nodes.colspec(colwidth=1) for _ in head)
    body = [[nodes.Text(title) for title in head], *rows]
    lines = [
        nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in row))
        for row in body
    ]
    group += nodes.thead("", lines[0])
    group += nodes.tbody("", *lines[1:])
    return nodes.table("", group)


class StatusTable(SphinxDirective):
    """The status codes and their sentences."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        rows = (
            (nodes.literal(text=str(int(code))), nodes.Text(text)) for code, text in STATUS.items()
        )
        return [table(("code", "meaning"), rows)]


class QuantityTable(SphinxDirective):
    """The output maps, their units and meanings."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        rows = (
            (nodes.literal(text=name), nodes.Text(entry.unit), nodes.Text(entry.meaning))
            for name, entry in QUANTITIES.items()
        )
        return [table(("name", "unit", "meaning"), rows)]


class ModuleTable(SphinxDirective):
    """The files of a package and the first line of each, in their groups if it has any."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        package = self.arguments[0]
        groups = draw_layers.table().INSIDE.get(package)
        head = ("group", "file", "what it is")
        if groups is None:
            names = sorted(path.stem for path in (SOURCE / package).glob("[!_]*.py"))
            return [table(head[1:], [self.line(package, name) for name in names])]
        rows = [
            [nodes.Text(group if name == files[0] else ""), *self.line(package, name)]
            for group, files in groups.items()
            for name in files
        ]
        return [table(head, rows)]

    def line(self, package: str, name: str) -> list[nodes.Node]:
        """Return the file's name and the first line of its docstring."""
        text = (SOURCE / package / f"{name}.py").read_text(encoding="utf-8")
        first = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
        return [nodes.literal(text=name), nodes.Text(first)]


class CommandHelp(SphinxDirective):
    """What a command of the command line prints for ``--help``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the text."""
        os.environ["COLUMNS"] = "88"
        with redirect_stdout(StringIO()) as out:
            main([self.arguments[0], "--help"])
        return [nodes.literal_block(out.getvalue(), out.getvalue(), language="text")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("status-table", StatusTable)
    app.add_directive("quantity-table", QuantityTable)
    app.add_directive("module-table", ModuleTable)
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
