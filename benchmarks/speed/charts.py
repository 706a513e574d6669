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
    if not logarithmic:
        drawn.range = (0, max(high for points in lines.values() for _, high in points) * 1.05)
    for name, points in lines.items():
        drawn.add(name, list(points))
    path.write_text(settled(drawn.render(is_unicode=True), path.stem))


def settled(picture: str, name: str) -> str:
    """Without the script's settings, the date and the identifier of the day: it changes only where its points do."""
    picture = re.sub(r"<script.*?</script>|<!--.*?-->", "", picture, flags=re.DOTALL)
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", name, picture)
