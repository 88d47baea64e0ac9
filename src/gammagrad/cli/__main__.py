"""`python -m gammagrad.cli` is the command `gammagrad`."""

import sys

from gammagrad.cli.command import main

if __name__ == "__main__":
    sys.exit(main())
