"""Parsing of the command line: errors of one line, and the types of options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from gammagrad.estimators.settings import check_settings
from gammagrad.maps.units import to_value

__all__ = ["Parser", "angle", "number_or_angle", "setting", "texts"]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with exit code 2, and whose help keeps its lines."""

    def __init__(self, **kwargs: Any) -> None:
        # an abbreviated option would change its meaning when a new one is added
        kwargs = {"formatter_class": argparse.RawDescriptionHelpFormatter, **kwargs}
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Print an error and leave.

        Parameters
        ----------
        message
            What is wrong.
        """
        text = " ".join(message.split())
        print(f"{self.prog}: error: {text}; see `{self.prog} --help`.", file=sys.stderr)
        raise SystemExit(2)


def setting(name: str, example: str) -> Callable[[str], Any]:
    """Return the type of an option that is a setting of the estimator.

    Parameters
    ----------
    name
        The setting's name.
    example
        A value that would do, for the error message.

    Returns
    -------
    callable
        From the text to the checked value.
    """

    def convert(text: str) -> Any:
        try:
            return check_settings(name, text)
        except (TypeError, ValueError) as error:
            # astropy's errors, about texts that are no quantities, do not name the setting
            own = str(error).rstrip(".") if str(error).startswith(name) else ""
            raise argparse.ArgumentTypeError(
                own or f"cannot read {text!r}; expected such as {example}"
            ) from error

    return convert


def angle(text: str) -> float:
    """Return an angle in deg; a bare number is one.

    Parameters
    ----------
    text
        Such as "0.2 deg", "12 arcmin" or "0.2".

    Returns
    -------
    float
        The angle, positive.
    """
    try:
        value = float(text)
    except ValueError:
        try:
            value = to_value(text, "deg", "angle")
        except ValueError as error:
            raise argparse.ArgumentTypeError(
                f"cannot read {text!r}; expected an angle such as '0.1 deg'"
            ) from error
    if not (0 < value < 360):
        raise argparse.ArgumentTypeError(f"{text!r} is no width; expected a positive angle")
    return value


def number_or_angle(text: str) -> float | str:
    """Return a number of pixels, or an angle as text.

    Parameters
    ----------
    text
        Such as "5" or "0.3 deg".

    Returns
    -------
    float or str
        What `find_peaks` takes.
    """
    try:
        value = float(text)
    except ValueError:
        return f"{angle(text)} deg"
    if not (0 <= value < float("inf")):
        raise argparse.ArgumentTypeError(f"{text!r} is no distance; expected a positive number")
    return value


def texts(text: str) -> list[str]:
    """Return the parts of a text between commas.

    Parameters
    ----------
    text
        Such as "1 TeV, 10 TeV".

    Returns
    -------
    list of str
        The parts, without blanks around them.
    """
    return [part.strip() for part in text.split(",")]
