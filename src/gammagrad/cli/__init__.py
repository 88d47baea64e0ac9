"""The command line: `gammagrad ts-map`, `background`, `lima`, `info` and `demo`."""

from gammagrad.cli.command import main

__all__ = ["main"]
