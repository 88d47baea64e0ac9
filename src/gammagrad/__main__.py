"""Run the command line: ``python -m gammagrad``."""

import sys

from gammagrad.cli import main

if __name__ == "__main__":
    sys.exit(main())
