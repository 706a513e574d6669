"""Charts as SVG files. Needs pygal, which is a dependency of development alone."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pygal

Points = Sequence[tuple[float, float]]


def chart(
    path: Path, title: str, across: str, up: str, lines: Mapping[str, Points], *, logarithmic: bool = False
) -> None:
    """One file: lines over a common axis. No script in it, and nothing that it would load."""
    drawn = pygal.XY(
        js=(),
        title=title,
        x_title=across,
        y_title=up,
        logarithmic=logarithmic,
        width=820,
        height=420,
        legend_at_bottom=True,
        dots_size=4,
        value_formatter=lambda value: f"{value:,.0f}" if value >= 10 else f"{value:,.1f}",
        x_value_formatter=lambda value: f"{value:,.0f}",
    )
    for name, points in lines.items():
        drawn.add(name, list(points))
    # The identifier is drawn anew each time: with a fixed one a picture changes only where its points do.
    path.write_text(re.sub(r"chart-[0-9a-f-]{36}", f"chart-{path.stem}", drawn.render(is_unicode=True)))
