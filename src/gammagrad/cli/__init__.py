"""The command line: `gammagrad ts-map`, `gammagrad info`, `gammagrad demo`."""

from gammagrad.cli.command import main

__all__ = ["main"]
