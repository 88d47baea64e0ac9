"""Tables of the documentation that are read from the code, so that they stay true."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import gammagrad
from gammagrad.cli import main
from gammagrad.core.norm import STATUS
from gammagrad.estimators.settings import REQUIRED
from gammagrad.output_quantities import QUANTITIES

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


def marked(text: str) -> list[nodes.Node]:
    """Return a text in which names between backticks are code."""
    parts = re.split(r"`+", text)
    return [nodes.literal(text=p) if i % 2 else nodes.Text(p) for i, p in enumerate(parts) if p]


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
            (
                nodes.literal(text=name),
                nodes.Text(entry.unit),
                nodes.Text(entry.meaning.replace("`", "")),
            )
            for name, entry in QUANTITIES.items()
        )
        return [table(("name", "unit", "meaning"), rows)]


class WingTable(SphinxDirective):
    """The wings, the sentence of each, and its files with their first lines."""

    def run(self) -> list[nodes.Node]:
        """Return the wings as a list: a table would be too wide for a phone."""
        found = nodes.definition_list()
        for folder in sorted({path.parent for path in SOURCE.rglob("*.py")} - {SOURCE}):
            wing = ".".join(folder.relative_to(SOURCE).parts)
            files = nodes.bullet_list()
            for path in sorted(folder.glob("[!_]*.py")):
                item = nodes.paragraph("", "", nodes.literal(text=path.stem), nodes.Text(": "))
                item += marked(self.line(path))
                files += nodes.list_item("", item)
            said = nodes.paragraph("", "", *marked(self.line(folder / "__init__.py")))
            body = nodes.definition("", said, *([files] if files.children else []))
            found += nodes.definition_list_item(
                "", nodes.term("", "", nodes.literal(text=wing)), body
            )
        return [found]

    def line(self, path: Path) -> str:
        """Return the first line of the docstring of a file."""
        return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]


class SettingTable(SphinxDirective):
    """The settings of an estimator: name, default, unit, sentence, option of the command line."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        rows = []
        for name, row in getattr(gammagrad, self.arguments[0]).table.items():
            default = "" if row.default is REQUIRED else repr(row.default)
            option = row.option.flag if row.option else ""
            code, plain = partial(nodes.literal, ""), nodes.Text
            rows.append(
                (
                    *(code(text) if text else plain("") for text in (name, default)),
                    *(plain(row.unit), plain(row.sentence.replace("--", "\u2010\u2010"))),
                    code(option) if option else plain(""),
                )
            )
        return [table(("setting", "default", "unit", "meaning", "option"), rows)]


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
    app.add_directive("wing-table", WingTable)
    app.add_directive("setting-table", SettingTable)
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
