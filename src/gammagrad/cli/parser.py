"""Parsing of the command line: errors of one line, and the types of options."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from gammagrad.errors import InputError, InputTypeError
from gammagrad.maps import to_value


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with exit code 2, and whose help keeps its lines."""

    def __init__(self, **kwargs: Any) -> None:
        # an abbreviated option would change its meaning when a new one is added
        kwargs = {"formatter_class": argparse.RawDescriptionHelpFormatter, **kwargs}
        super().__init__(allow_abbrev=False, **kwargs)

    def told(self, error: Exception) -> str:
        """Return an error of the library with the option in place of its argument."""
        if not isinstance(error, InputError | InputTypeError):
            return str(error)
        names = {action.dest: action.option_strings[-1:] for action in self._actions}
        # several options may make up one argument
        names |= {name: [flags] for name, flags in (self.get_default("flags") or {}).items()}
        return error.called("".join(names.get(error.argument) or [error.argument]))

    def unknown(self, words: Sequence[str]) -> str:
        """Return what is wrong with words that name nothing, and which option was meant."""
        known = [option for action in self._actions for option in action.option_strings]
        hints = []
        for word in words:
            option = word.partition("=")[0]
            close = get_close_matches(option, known, n=1) if option.startswith("--") else []
            hints += [f"did you mean {close[0]}?"] if close else []
        return "; ".join([f"unknown: {' '.join(words)}", *hints])

    def error(self, message: str) -> NoReturn:
        """Print an error and leave."""
        text = " ".join(message.split())
        join = " See" if text.endswith("?") else "; see"
        print(f"{self.prog}: error: {text}{join} `{self.prog} --help`.", file=sys.stderr)
        raise SystemExit(2)


def flag(name: str) -> str:
    """Return the option of an argument."""
    return "--" + name.replace("_", "-")


def number(text: str) -> float:
    """Return the number that a text is, or NaN."""
    try:
        return float(text)
    except ValueError:
        return math.nan


FRAMES = ("icrs", "galactic", "fk5")


def angle(text: str) -> float:
    """Return an angle in deg; a bare number is one."""
    value = number(text)
    if math.isnan(value):
        try:
            value = to_value(text, "deg", "angle")
        except ValueError as error:
            raise argparse.ArgumentTypeError(
                f"cannot read {text!r}; expected an angle such as '0.1 deg'"
            ) from error
    if not (0 < value < 360):
        raise argparse.ArgumentTypeError(f"{text!r} is no width; expected a positive angle")
    return value


def finite(text: str) -> float:
    """Return a finite number."""
    if not math.isfinite(number(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number; expected such as 5")
    return number(text)


def whole(least: int = 0) -> Callable[[str], int]:
    """Return the type of an option that is a whole number."""

    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"{text!r}; expected a whole number of at least {least}"
            )
        return int(text)

    return convert


def number_or_angle(text: str) -> float | str:
    """Return a number of pixels, or an angle as text."""
    value = number(text)
    if math.isnan(value):
        return f"{angle(text)} deg"
    if not (0 <= value < math.inf):
        raise argparse.ArgumentTypeError(f"{text!r} is no distance; expected a positive number")
    return value


def radius_text(text: str) -> str:
    """Return the radius of a disc as text with its unit."""
    size, _, unit = text.strip().partition(" ")
    if unit.strip() in ("pix", "pixel", "pixels") or size.endswith("pix"):
        value = number(size.removesuffix("pix"))
        if not (0 < value < math.inf):
            raise argparse.ArgumentTypeError(f"{text!r} is no radius; expected such as '5 pix'")
        return f"{value:g} pix"
    return f"{angle(text):.10g} deg"


def sky_numbers(text: str, n: int) -> tuple[str, list[float]]:
    """Return the frame and the numbers of a text such as "galactic:0.1,-0.2,1.5"."""
    frame, colon, rest = text.strip().rpartition(":")
    parts = rest.split(",")
    numbers = [number(part) for part in parts]
    if len(parts) != n or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{n} numbers in deg between commas.")
    if colon and frame not in FRAMES:
        raise ValueError(f"{frame!r} is no frame; expected {', '.join(FRAMES)}.")
    if not (-360 <= numbers[0] <= 360 and -90 <= numbers[1] <= 90):
        raise ValueError("in deg, latitudes from -90 to 90.")
    return frame, numbers


def box(text: str) -> tuple[str, list[float]]:
    """Return frame, longitude, latitude and width of a box of the sky."""
    try:
        frame, numbers = sky_numbers(text, 3)
        if not 0 < numbers[2] < 360:
            raise ValueError("the width above 0.")
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"cannot read {text!r}; expected LON,LAT,WIDTH such as 266.4,-29.0,1.5 or "
            f"galactic:0,0,1.5: {error}"
        ) from error
    return frame, numbers


def spot(text: str) -> tuple[str, list[float]]:
    """Return frame, longitude and latitude of a position."""
    try:
        return sky_numbers(text, 2)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"cannot read {text!r}; expected LON,LAT such as 266.4,-29.0 or galactic:0,0: {error}"
        ) from error


def texts(text: str) -> list[str]:
    """Return the parts of a text between commas."""
    return [part.strip() for part in text.split(",")]
