"""Put the tables of the studies into the pages Tables of accuracy and Background.

python docs/make_accuracy.py [--check]

The pages have markers, ``<!-- table: STUDY/TABLE -->`` and ``<!-- end -->``; what is between them
is made from `docs/studies/STUDY.json`, which the script `docs/studies/STUDY.py` writes. A study
whose file is a plain list of rows has two tables, "rows" and "summary", which has one row for each
quantity. With ``--check`` nothing is written, and a page that is out of date is an error.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marked_page import update

FOLDER = Path(__file__).parent
PAGES = (FOLDER / "accuracy_tables.md", FOLDER / "background.md")
STUDIES = FOLDER / "studies"

sys.path.insert(0, str(STUDIES))
from report import lines  # noqa: E402

FORMATS = {"worst": ".1e"}
"""Formats of columns of studies that have none of their own."""


def plain(value: Any) -> Any:
    """Return a cell of a list of rows; counts by what they count as one text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{number} x {what}" for what, number in value.items())
    return value


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Join the rows of each quantity: the worst of them, and sums of what is counted."""
    joined = []
    for quantity in dict.fromkeys(row["quantity"] for row in rows):
        those = [row for row in rows if row["quantity"] == quantity]
        explained: Counter[str] = Counter()
        for row in those:
            explained.update(row["explained"])
        compared, above = (sum(row[name] for row in those) for name in ("compared", "above"))
        worst = max(row["worst"] for row in those)
        joined.append([quantity, len(those), compared, worst, above, plain(explained)])
    columns = ["quantity", "cases", "compared", "worst", "above", "explained"]
    return {"columns": columns, "rows": joined, "formats": FORMATS}


def tables_of(study: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Read the tables of a study, and the versions that made them."""
    found = json.loads((STUDIES / f"{study}.json").read_text(encoding="utf-8"))
    if isinstance(found, list):
        columns = list(found[0])
        rows = [[plain(row[name]) for name in columns] for row in found]
        every = {"columns": columns, "rows": rows, "formats": FORMATS}
        return {"rows": every, "summary": summary(found)}, {}
    return found["tables"], found["versions"]


def filled(match: re.Match[str]) -> str:
    """Return a pair of markers with their table between them."""
    start, study, name, end = match.groups()
    if not (STUDIES / f"{study}.json").exists():
        print(f"{study}.json does not exist; its table is unchanged", file=sys.stderr)
        return match.group(0)
    tables, versions = tables_of(study)
    made = ", ".join(f"{package} {version}" for package, version in versions.items())
    note = [f"Made with {made}.", ""] if made else []
    return "\n".join([start, *lines(tables[name]), "", *note, end])


if __name__ == "__main__":
    sys.exit(max(update(page, filled, "make_accuracy.py", __doc__) for page in PAGES))
