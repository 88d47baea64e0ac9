"""Look for phrases that readers stumble over, and print better words.

    python .ci/words.py [PATH ...]

Reads the package and the documentation, or the files given. Exit status 1 if anything is found.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = "README.md CONTRIBUTING.md docs/*.md docs/api/* notebooks/[0-9]*.py src/gammagrad/**/*.py"

# read only when named on the command line, until they pass
PACKAGES: list[str] = []
NOT_YET: list[str] = []

NOUNS = "angle|description|error|image|kernel|list|map|mask|model|number|pattern|peak"
BETTER = {
    r"are not taken\b": "are not supported",
    r"\b(stand|stands|stood) still": "converges, converged",
    r"\b(do|does) as well\b(?! as)": "also works",
    r"\bof before\b": "the previous ...",
    rf"(?<!there )\b(is|are|be) no ({NOUNS})s?\b": "is not a ...",
    r"(?<!there )\bis no \w+ but\b": "is a ..., not just a ...",
    r"\bthat (is|are) no (?!longer|more)\w+": "that is not a ...",
    r"\bgo(es)? before\b": "takes precedence over",
    r"\bin turns with\b": "timed alternately",
    r"\bto the last digits?\b": "to machine precision",
    r"\bwhence\b": "from where",
    r"\b(came|comes?) about\b": "arises, is made",
    r"\bthose of the (one|other)s?\b": "repeat the noun",
    r"\b(do|does) so too\b": "does the same",
    r"\bbut for (rounding|a constant)\b": "up to ...",
    r"\bwithout a word\b": "silently",
    r"\bat every door\b": "on input",
    r"\bof (one's|its|their) own choice\b": "chosen",
    r"\bis there already\b": "already exists",
    r"\b(stand|stands) there twice\b": "is there twice",
    r"\bless that (of|with|without)\b": "minus the ...",
}


def found(path: Path) -> list[str]:
    """Return what to change in a file, one line each; a phrase may span two lines of text."""
    text = (ROOT / path).read_text(encoding="utf-8")
    # a line break, with the quotes or the mark of a comment around it, is one blank
    breaks = re.sub(r' ?"?\n[ \t]*(?:# |f?"(?!""))?', lambda m: " " + "\0" * (len(m[0]) - 1), text)
    places = [i for i, character in enumerate(breaks) if character != "\0"]
    hits = []
    for pattern, better in BETTER.items():
        for hit in re.finditer(pattern, breaks.replace("\0", ""), re.IGNORECASE):
            line = text.count("\n", 0, places[hit.start()]) + 1
            hits.append((line, f"{path}:{line}: {hit[0]!r}; better: {better}"))
    return [message for _, message in sorted(hits)]


def main(arguments: list[str]) -> int:
    """Look through files, and return the exit status."""
    named = [Path(argument) for argument in arguments]
    every = [p.relative_to(ROOT) for pattern in FILES.split() for p in sorted(ROOT.glob(pattern))]
    read = named or [p for p in every if not p.as_posix().startswith(tuple(NOT_YET))]
    hits = [hit for path in read for hit in found(path)]
    print("\n".join(hits), end="\n" if hits else "")
    return bool(hits)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
