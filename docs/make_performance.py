"""Put the tables of the benchmarks into the page Performance.

python docs/make_performance.py [--check]

The page `docs/performance.md` has markers, ``<!-- table: FILE/TABLE -->`` and ``<!-- end -->``;
what is between them is made from `benchmarks/results/FILE.json`, which the scripts in `benchmarks`
write. With ``--check`` nothing is written, and a page that is out of date is an error.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from marked_page import update

FOLDER = Path(__file__).parent
PAGE = FOLDER / "performance.md"
BENCHMARKS = FOLDER.parent / "benchmarks"

sys.path.insert(0, str(BENCHMARKS))
from summary import lines, tables_of  # noqa: E402


def filled(match: re.Match[str]) -> str:
    """Return a pair of markers with their table between them, and what made it."""
    start, name, title, end = match.groups()
    path = BENCHMARKS / "results" / f"{name}.json"
    if not path.exists():
        print(f"{path.name} does not exist; its table is unchanged", file=sys.stderr)
        return match.group(0)
    found = json.loads(path.read_text(encoding="utf-8"))
    cases = found.get("cases", {})
    table = (tables_of(cases) if cases else found["tables"])[title]
    made = [f"{package} {version}" for package, version in found["versions"].items()]
    note = f"Measured on {found['cores']} cores, with {', '.join(made)}."
    if any(record["quick"] for record in cases.values()):
        note += " A quick run, which shows that all works: its figures are rough."
    return "\n".join([start, *lines(table), "", note, "", end])


if __name__ == "__main__":
    sys.exit(update(PAGE, filled, "make_performance.py", __doc__))
