"""Run notebooks, each in a clean kernel, and turn them into pages of the documentation.

    python notebooks/execute.py notebooks/1_first_ts_map.py ...

A notebook is a Python file in jupytext's percent format. Into `docs/tutorials` go `NAME.ipynb`, its
executed copy, `NAME.md`, its page with the outputs, and `NAME_thumbnail.png`, the picture of the
cell with the tag "thumbnail". A cell that fails ends the run with its traceback.
"""

from __future__ import annotations

import argparse
import base64
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from traitlets.config import Config

HERE = Path(__file__).resolve().parent
PAGES = HERE.parent / "docs" / "tutorials"
THUMBNAIL = "thumbnail"
CELL_SECONDS = 600
# Each mostly waits for a compiler that uses one core.
AT_ONCE = 2


def execute(notebook: NotebookNode) -> NotebookNode:
    """Run a notebook in a kernel of its own, in an empty folder.

    Parameters
    ----------
    notebook
        Its cells, which get their outputs.

    Returns
    -------
    NotebookNode
        The same notebook.

    Raises
    ------
    CellExecutionError
        If a cell fails.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as sockets:
        # through sockets in a folder, not through the network, where others may listen
        kernel = {"transport": "ipc", "ip": os.path.join(sockets, "kernel")}
        client = NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            kernel_name="python3",
            config=Config({"KernelManager": kernel}),
            resources={"metadata": {"path": folder}},
        )
        client.execute()
    return notebook


def page(notebook: NotebookNode, name: str, folder: Path) -> str:
    """Write an executed notebook as Markdown, its pictures beside it.

    Parameters
    ----------
    notebook
        With outputs.
    name
        The page's name, which the pictures' names begin with.
    folder
        Where the pictures go.

    Returns
    -------
    str
        The page's text.
    """
    blocks = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            blocks.append(cell.source)
        elif cell.cell_type == "code" and cell.source.strip():
            blocks.append(fenced(cell.source, "python"))
            blocks.append(shown(cell, f"{name}_{number}", folder))
            if THUMBNAIL in cell.metadata.get("tags", []):
                *_, last = sorted(folder.glob(f"{name}_{number}_*.png"))
                shutil.copyfile(last, folder / f"{name}_{THUMBNAIL}.png")
    blocks.append(
        f"This page as a {{download}}`notebook <{name}.ipynb>`, or as a "
        f"{{download}}`script <../../notebooks/{name}.py>`."
    )
    return "\n\n".join(block for block in blocks if block) + "\n"


def shown(cell: NotebookNode, start: str, folder: Path, beside: str = "") -> str:
    """Return the outputs of a cell as Markdown, and write its pictures into a folder.

    `start` begins the names of the pictures, `beside` the path to them.
    """
    found = []
    for place, output in enumerate(cell.outputs):
        found.append(_shown(output, f"{start}_{place}.png", folder, beside))
    return "\n\n".join(text for text in found if text)


def fenced(text: str, language: str) -> str:
    """Return text as a block of code."""
    return f"```{language}\n{text.rstrip()}\n```"


def _shown(output: NotebookNode, picture: str, folder: Path, beside: str) -> str:
    """Return one output of a cell as Markdown; messages to stderr go to ours."""
    if output.output_type == "stream":
        if output.name == "stderr":
            print(output.text, file=sys.stderr, end="")
            return ""
        return fenced(output.text, "text")
    data = output.get("data", {})
    if "image/png" in data:
        (folder / picture).write_bytes(base64.b64decode(data["image/png"]))
        return f"![Output of the cell above]({beside}{picture})"
    if "text/html" in data:
        return fenced(f'<div class="output">{data["text/html"]}</div>', "{raw} html")
    return fenced(data["text/plain"], "text") if "text/plain" in data else ""


def main() -> int:
    """Execute the notebooks named on the command line."""
    parser = argparse.ArgumentParser(description="Execute notebooks in clean kernels.")
    parser.add_argument("notebooks", nargs="*", type=Path)
    # a kernel must draw inline, and starts elsewhere
    os.environ.pop("MPLBACKEND", None)
    if os.environ.get("GAMMAPY_DATA"):
        os.environ["GAMMAPY_DATA"] = os.path.abspath(os.environ["GAMMAPY_DATA"])
    PAGES.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return max(pool.map(publish, parser.parse_args().notebooks), default=0)


def publish(path: Path) -> int:
    """Execute a notebook and write its copy and its page.

    Parameters
    ----------
    path
        The notebook's Python file.

    Returns
    -------
    int
        0, or 1 if a cell failed, which is reported.
    """
    start = time.perf_counter()
    print(f"{path} ...", flush=True)
    try:
        notebook = execute(jupytext.read(path))
    except CellExecutionError as error:
        print(f"{path} failed.\n{error}", file=sys.stderr)
        return 1
    for old in PAGES.glob(f"{path.stem}_*.png"):
        old.unlink()
    nbformat.write(notebook, PAGES / f"{path.stem}.ipynb")
    text = page(notebook, path.stem, PAGES)
    (PAGES / f"{path.stem}.md").write_text(text, encoding="utf-8")
    print(f"{path} ran in {time.perf_counter() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
