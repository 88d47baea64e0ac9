"""A page of the documentation with tables between markers, which a script makes."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

MARKED = re.compile(r"(<!-- table: ([\w-]+)/([^>\n]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def update(page: Path, filled: Callable[[re.Match[str]], str], script: str, text: str) -> int:
    """Fill a page's markers, or with --check tell whether they are; return the exit status."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if out of date")
    check = parser.parse_args().check
    old = page.read_text(encoding="utf-8")
    new = MARKED.sub(filled, old)
    if check and new != old:
        print(f"docs/{page.name} is out of date: run python docs/{script}", file=sys.stderr)
        return 1
    if not check:
        page.write_text(new, encoding="utf-8")
    return 0
