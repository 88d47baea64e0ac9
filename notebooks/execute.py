"""Run notebooks, each in a clean kernel, and turn them into pages of the documentation.

    python notebooks/execute.py notebooks/1_first_ts_map.py ...

A notebook is a Python file in jupytext's percent format. Its executed copy goes to
`notebooks/_build/NAME.ipynb`, its page with the outputs to `docs/tutorials/NAME.md`. A cell that
fails ends the run with its traceback.
"""

from __future__ import annotations

import argparse
import base64
import os
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
EXECUTED = HERE / "_build"
PAGES = HERE.parent / "docs" / "tutorials"
CELL_SECONDS = 600
# Each mostly waits for a compiler that uses one core.
AT_ONCE = 2


def execute(path: Path) -> NotebookNode:
    """Run a notebook in a kernel of its own, in an empty folder.

    Parameters
    ----------
    path
        The notebook's Python file.

    Returns
    -------
    NotebookNode
        The notebook with its outputs.

    Raises
    ------
    CellExecutionError
        If a cell fails.
    """
    notebook = jupytext.read(path)
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
            for place, output in enumerate(cell.outputs):
                blocks.append(shown(output, f"{name}_{number}_{place}.png", folder))
    blocks.append(f"The notebook itself: `notebooks/{name}.py`")
    return "\n\n".join(block for block in blocks if block) + "\n"


def fenced(text: str, language: str) -> str:
    """Return text as a block of code."""
    return f"```{language}\n{text.rstrip()}\n```"


def shown(output: NotebookNode, picture: str, folder: Path) -> str:
    """Return one output of a cell as Markdown; messages to stderr go to ours."""
    if output.output_type == "stream":
        if output.name == "stderr":
            print(output.text, file=sys.stderr, end="")
            return ""
        return fenced(output.text, "text")
    data = output.get("data", {})
    if "image/png" in data:
        (folder / picture).write_bytes(base64.b64decode(data["image/png"]))
        return f"![Output of the cell above]({picture})"
    return fenced(data["text/plain"], "text") if "text/plain" in data else ""


def main() -> int:
    """Execute the notebooks named on the command line."""
    parser = argparse.ArgumentParser(description="Execute notebooks in clean kernels.")
    parser.add_argument("notebooks", nargs="*", type=Path)
    # a kernel must draw inline, and starts elsewhere
    os.environ.pop("MPLBACKEND", None)
    if os.environ.get("GAMMAPY_DATA"):
        os.environ["GAMMAPY_DATA"] = os.path.abspath(os.environ["GAMMAPY_DATA"])
    for folder in (EXECUTED, PAGES):
        folder.mkdir(parents=True, exist_ok=True)
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
        notebook = execute(path)
    except CellExecutionError as error:
        print(f"{path} failed.\n{error}", file=sys.stderr)
        return 1
    for old in PAGES.glob(f"{path.stem}_*.png"):
        old.unlink()
    nbformat.write(notebook, EXECUTED / f"{path.stem}.ipynb")
    text = page(notebook, path.stem, PAGES)
    (PAGES / f"{path.stem}.md").write_text(text, encoding="utf-8")
    print(f"{path} ran in {time.perf_counter() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
