"""The profile of one position of a map."""

import matplotlib.pyplot as plt
import numpy as np
from style import WIDTH, pixel

from gammagrad import TSMapEstimator
from gammagrad.models import PointSpatialModel, PowerLawSpectralModel, SkyModel
from gammagrad.simulate import simulate_field

field = simulate_field(seed=1, npix=60)
spectrum = PowerLawSpectralModel(index=2, amplitude="1e-13 cm-2 s-1 TeV-1")
place = pixel(field, "D")
maps = TSMapEstimator(
    SkyModel(spectrum, PointSpatialModel()),
    kernel_width="0.6 deg",
    sum_over_energy_groups=False,
    selection_optional=["errn-errp", "ul", "stat_scan"],
    norm=np.linspace(0, 4, 21),
).run(field.dataset, positions=(field.dataset.geom.to_image().get_skycoord()[place], "0.2 deg"))
figure = plt.figure(figsize=(WIDTH, 3.6), layout="constrained")
maps.plot_profile(place, ax=figure.add_subplot())
