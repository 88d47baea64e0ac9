"""The README and the pages of the documentation, and their blocks of code.

As a script it runs the blocks of one page, in their order, in the folder where it is started:
``python tests/pages.py docs/getting_started.md``. The python blocks share their names. Commands of
gammagrad are called in this process, since each would import and compile for itself otherwise; all
others go to a shell.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent

# commands that are not run here, and what runs them
ELSEWHERE = {
    "gammapy": "gammapy; it needs a network",
    "make": "continuous integration; tests/test_examples.py looks that the target is there",
    "pip install": "the Makefile; tests/test_examples.py looks that the extra is there",
    "gammagrad demo": "make demo",
}

# pages whose Python runs when the documentation is built (docs/executed.py): here their commands do
BUILT = ("docs/getting_started.md", "docs/index.md")

_FENCED = re.compile(r"^( *)```([^\n`]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of a page: its language, its text, and the number of its first line."""

    language: str
    code: str
    line: int


def pages() -> list[str]:
    """Return the README, and all pages of the documentation but those made of notebooks."""
    found = [p for kind in ("md", "rst") for p in (ROOT / "docs").rglob(f"*.{kind}")]
    names = {p.relative_to(ROOT).as_posix() for p in [*found, *ROOT.glob("*.md")]}
    return sorted(n for n in names if not n.startswith(("docs/tutorials/", "docs/_build/")))


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(found[2].strip(), found[3], text.count("\n", 0, found.start(3)) + 1)
        for found in _FENCED.finditer(text)
    ]


def commands(block: Block) -> list[str]:
    """Return the commands of a block for the shell, without comments."""
    lines = block.code.replace("\\\n", " ").splitlines()
    return [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines) if line]


def runs_elsewhere(command: str) -> bool:
    """Tell whether a command is not for this script."""
    return any(command.split()[: len(key.split())] == key.split() for key in ELSEWHERE)


def run_command(command: str) -> None:
    """Run a command of a page."""
    print("$", command, flush=True)
    if runs_elsewhere(command):
        return
    if not command.startswith("gammagrad "):
        subprocess.run(["bash", "-c", command], check=True)
        return
    from gammagrad.cli import main

    if status := main(shlex.split(command)[1:]):
        sys.exit(f"{command}: exit status {status}")


def run(page: str) -> None:
    """Run the blocks of a page."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python" and page not in BUILT:
            # errors then name the line of the page
            exec(compile("\n" * (block.line - 1) + block.code, page, "exec"), names)
        elif block.language == "sh":
            for command in commands(block):
                run_command(command)


if __name__ == "__main__":
    run(sys.argv[1])
