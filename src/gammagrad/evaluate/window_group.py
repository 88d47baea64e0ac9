"""The windows of similar sources, predicted one after the other by the same code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from gammagrad._pytree import pytree, replace, static_field
from gammagrad.core.fold import PointKernel
from gammagrad.evaluate.source_window import SourceWindow


@pytree
class WindowGroup:
    """The windows of one or several sources of one kind, of as many pixels and samples."""

    # However many they are, what predicts their counts is compiled once, as long as their spectra
    # are of one kind.

    windows: SourceWindow  # the windows in one: each array has an axis of sources in front
    names: tuple[str, ...] = static_field()  # names of the sources; static

    def check(self, models: Mapping[str, Any]) -> None:
        """Raise if a source differs in kind from the one that its window was made for."""
        for name in self.names:
            self.windows.check(models[name])

    def outline(self, name: str) -> SourceWindow:
        """Return the window of a source without the arrays to predict its counts."""
        i = self.names.index(name)
        place = None if self.windows.place is None else np.asarray(self.windows.place)[i]
        return replace(
            self.windows, inputs=None, start=np.asarray(self.windows.start)[i], place=place
        )

    def holds(self, models: Mapping[str, Any]) -> bool:
        """Return whether all windows still fit their sources."""
        return all(self.outline(name).holds(models[name]) for name in self.names)

    def add_to(self, total: Array, models: Mapping[str, Any], exposure: ArrayLike) -> Array:
        """Add the predicted counts of the sources to those of a map."""
        parts = [(models[name].spectral_model, models[name].spatial_model) for name in self.names]
        if self.windows.inputs is None:
            return total
        if len(parts) == 1 or len({_structure(part) for part in parts}) > 1:
            for i, part in enumerate(parts):
                window = self._at(i)
                total = window.add_to(total, window.counts(*part, exposure))
            return total

        def add(total: Array, one: tuple[Array, Any]) -> tuple[Array, None]:
            index, (spectral, spatial) = one
            window = self._at(index)
            return window.add_to(total, window.counts(spectral, spatial, exposure)), None

        index = jnp.arange(len(parts), dtype=jnp.int32)
        return lax.scan(add, total, (index, jax.tree.map(_stack, *parts)))[0]

    def _at(self, index: int | Array) -> SourceWindow:
        """Return one of the windows."""

        def pick(leaf: Any) -> Any:
            if isinstance(leaf, PointKernel):
                return replace(leaf, index=index)
            return lax.dynamic_index_in_dim(jnp.asarray(leaf), index, keepdims=False)

        return jax.tree.map(pick, self.windows, is_leaf=lambda leaf: isinstance(leaf, PointKernel))


def group_windows(
    windows: Mapping[str, SourceWindow], models: Mapping[str, Any]
) -> tuple[WindowGroup, ...]:
    """Join the windows of similar sources."""
    groups: dict[Any, list[str]] = {}
    for name, window in windows.items():
        model = models[name]
        many = window.inputs is None or window.inputs.kind == "point"
        alone = None if many and window.place is not None else name
        key = alone, _structure((model.spectral_model, model.spatial_model)), _structure(window)
        groups.setdefault(key, []).append(name)
    found = []
    for names in groups.values():
        first, *others = (windows[name] for name in names)
        stacked = jax.tree.map(lambda *leaves: _in_front(leaves), first, *others)
        found.append(WindowGroup(stacked, tuple(names)))
    return tuple(found)


def _structure(tree: Any) -> tuple[Any, ...]:
    """Return the properties that two trees must share to use the same code."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple(np.shape(leaf) for leaf in leaves)


def _in_front(leaves: tuple[Any, ...]) -> Any:
    """Stack arrays along a new leading axis."""
    return leaves[0][None] if len(leaves) == 1 else np.stack(leaves)


def _stack(*leaves: Any) -> Array:
    """Stack numbers of several models, in the highest of their precisions."""
    arrays = [jnp.asarray(leaf) for leaf in leaves]
    dtype = np.result_type(*(array.dtype for array in arrays))
    return jnp.stack([array.astype(dtype) for array in arrays])
