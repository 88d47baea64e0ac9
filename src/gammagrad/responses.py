"""The instrument in a fit: Gaussian responses of free width, and folding a source with responses.

All traced, arrays in and out.
"""

from gammagrad.core.fold import apply_edisp, broaden_psf, fold, gaussian_edisp, gaussian_psf

__all__ = ["apply_edisp", "broaden_psf", "fold", "gaussian_edisp", "gaussian_psf"]
