#!/usr/bin/env python3
# /// script
# dependencies = ["nox"]
# ///
"""The targets of the Makefile as sessions of nox: `nox -s lint`, `nox -s test -- -k wcs`."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
# make has environments of its own
nox.options.default_venv_backend = "none"

DEFAULT = ("lint", "format-check", "types", "test")


def add_session(target: str, description: str) -> None:
    """Make a target a session."""

    def run(session: nox.Session) -> None:
        arguments = [f"ARGS={shlex.join(session.posargs)}"] if session.posargs else []
        session.run("make", target, *arguments, external=True)

    run.__doc__ = description
    nox.session(run, name=target, default=target in DEFAULT)


MAKEFILE = Path(__file__).with_name("Makefile").read_text(encoding="utf-8")
for found in re.finditer(r"^([a-z0-9-]+):.*?## (.*)$", MAKEFILE, re.MULTILINE):
    add_session(*found.groups())

if __name__ == "__main__":
    nox.main()
