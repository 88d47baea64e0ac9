"""Maps from gammapy's and back."""

from __future__ import annotations

from typing import Any, Self, cast

from gammagrad._upper import upper


class Exchange:
    """What a map has for users of gammapy's maps."""

    @classmethod
    def from_gammapy(cls, m: Any) -> Self:
        """Make a map of one of gammapy's, which stays as it is.

        Parameters
        ----------
        m
            A `WcsNDMap` or `RegionNDMap` of gammapy.

        Returns
        -------
        Map
            The map; it shares nothing with gammapy's.

        Raises
        ------
        TypeError
            If it is a HEALPix map, or has an axis of labels.
        """
        return cast(Self, upper("map_from_gammapy")(m))

    def to_gammapy(self) -> Any:
        """Return the map as one of gammapy's.

        Returns
        -------
        gammapy.maps.WcsNDMap or RegionNDMap
            The map; it shares nothing with this one.
        """
        return upper("map_to_gammapy")(self)
