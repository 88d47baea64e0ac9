"""gammagrad: exact, differentiable source maps for gamma-ray astronomy."""

__version__ = "0.1.0"
