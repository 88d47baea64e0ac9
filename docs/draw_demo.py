"""Draw the picture of the README: the demo's field with its sources found again.

python docs/draw_demo.py
"""

from __future__ import annotations

from pathlib import Path

from gammagrad.demo import off_source, simulated_demo
from gammagrad.plot import plot_overview, save_figure

TARGET = Path(__file__).parent / "images" / "demo.png"


def main() -> None:
    """Simulate, fit, draw."""
    demo = simulated_demo(show_progress=False)
    assert demo.field is not None
    figure = plot_overview(
        demo.run.maps,
        demo.peaks,
        truth=demo.field.sources,
        exclusion=off_source(demo),
        title="Simulated field: sources put in (crosses) and found (circles)",
    )
    TARGET.parent.mkdir(exist_ok=True)
    save_figure(figure, TARGET, overwrite=True, dpi=80)


if __name__ == "__main__":
    main()
