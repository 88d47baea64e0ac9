"""The command `gammagrad`: which subcommand, and what becomes of errors."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from argparse import SUPPRESS
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from gammagrad.cli import background, demo, info, lima, ts_map
from gammagrad.cli.compile_cache import keep_compiled_code
from gammagrad.cli.parser import Parser
from gammagrad.parallel import WorkerError

_EXAMPLES = """\
examples:
  gammagrad demo                                      simulate a field and find its sources
  gammagrad info dataset.fits.gz                      say what is in a file
  gammagrad ts-map dataset.fits.gz -o maps            make maps of significance and flux
  gammagrad background counts.fits -o background      estimate a background, excluding sources
  gammagrad lima dataset.fits.gz --radius 0.1 -o lima make maps of excess and significance
  gammagrad ts-map --help                             list the options of a command
"""

BAD_INPUT = 2

log = logging.getLogger(__name__)


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(
        prog="gammagrad",
        description="Source maps for gamma-ray astronomy.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"gammagrad {_version()}")
    # as those of a command, for whoever writes them first
    first = parser.add_mutually_exclusive_group()
    for short, long in (("-v", "--verbose"), ("-q", "--quiet")):
        first.add_argument(
            *(short, long), dest=f"{long[2:]}_first", action="count", default=0, help=SUPPRESS
        )
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", parser_class=Parser
    )
    for part in (ts_map, background, lima, info, demo):
        command = commands.add_parser(
            part.NAME, help=part.HELP, description=part.DESCRIPTION, epilog=part.EXAMPLES
        )
        part.add_options(command)
        loud = command.add_mutually_exclusive_group()
        loud.add_argument(
            *("-v", "--verbose"),
            action="count",
            default=0,
            help="log what is done; twice for details, and for the origin of an error",
        )
        loud.add_argument("-q", "--quiet", action="store_true", help="print errors only")
        command.add_argument(
            "--no-cache", action="store_true", help="keep no compiled code for later commands"
        )
        command.set_defaults(parser=command, run=part.run)
    return parser


def _version() -> str:
    try:
        return version("gammagrad")
    except PackageNotFoundError:
        return "(not installed)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = make_parser()
    try:
        args, unknown = parser.parse_known_args(argv)
        if args.command is None:
            parser.error("expected a command: ts-map, background, lima, info or demo")
        if unknown:
            args.parser.error(args.parser.unknown(unknown))
        args.verbose += args.verbose_first
        args.quiet |= args.quiet_first > 0
        if args.verbose and args.quiet:
            args.parser.error("argument -v/--verbose: not allowed with argument -q/--quiet")
    except SystemExit as stop:
        return int(stop.code or 0)
    with _reports(args.verbose, args.quiet):
        if argv is None and not args.no_cache:
            keep_compiled_code()
        try:
            args.run(args)
        except BrokenPipeError:
            # whoever read the output has closed it; Python would complain when it flushes
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (ValueError, OSError, ImportError, WorkerError) as error:
            log.debug("where the error came from", exc_info=True)
            text = " ".join(args.parser.told(error).split()) or type(error).__name__
            print(f"gammagrad {args.command}: error: {text}", file=sys.stderr)
            return BAD_INPUT
        except KeyboardInterrupt:
            print(f"gammagrad {args.command}: stopped.", file=sys.stderr)
            return 130
    return 0


@contextmanager
def _reports(verbose: int, quiet: bool) -> Iterator[None]:
    """Send log messages and warnings to the standard error stream, one line each."""

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        # what libraries say to programmers is nothing that a user can act on
        if not quiet and not issubclass(category, DeprecationWarning | PendingDeprecationWarning):
            text = " ".join(str(message).split())
            print(f"gammagrad: warning: {text}", file=sys.stderr)

    handler = logging.StreamHandler(sys.stderr)
    place = "%(name)s: %(levelname)s" if verbose else "gammagrad: warning"
    handler.setFormatter(logging.Formatter(f"{place}: %(message)s"))
    logger = logging.getLogger("gammagrad")
    before = logger.level
    levels = [logging.ERROR if quiet else logging.WARNING, logging.INFO, logging.DEBUG]
    logger.setLevel(levels[min(verbose, 2)])
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
