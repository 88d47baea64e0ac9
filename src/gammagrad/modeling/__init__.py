"""Models where gammapy's scripts look for them; the models are in ``modeling/models``."""

from gammagrad.modeling import models

__all__ = ["models"]
