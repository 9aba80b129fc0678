"""Draws the training losses of a job's candidates as SVG."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from api.jobs.candidates.queries import Curve
from core.jobs.search import candidate_values
from core.tables import Job

SVG = "image/svg+xml"
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    200: {"description": "An SVG picture", "content": {SVG: {"schema": {"type": "string"}}}}
}

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 460, 20, 360  # edges of the plot; the legend is on its right
LINE = 18  # height of a line of the legend
Points = Sequence[tuple[float, float]]
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#9c6b4e")


def picture(job: Job, curves: Sequence[Curve]) -> str:
    """Return the picture: steps to the right, losses upwards, one line for each candidate.

    A line ends at the last step that its candidate trained.
    """
    search = job.spec["search"]
    named = [(f"{curve.number}: {_name(search, curve.number)}", curve.points) for curve in curves]
    return drawn(named, "step", "training loss")


def drawn(lines: Sequence[tuple[str, Points]], across: str, upwards: str) -> str:
    """Return a picture of named lines. `across` and `upwards` say what the axes are."""
    points = [point for _, line in lines for point in line]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="black"/>',
    ]
    if points:
        axes = Axes.around(points)
        parts += _labels(axes, across, upwards)
        for index, (name, line) in enumerate(lines):
            parts += _line(index, name, line, axes)
    return "".join([*parts, "</svg>"])


def _name(search: Mapping[str, Any], number: int) -> str:
    """Return the values in which the candidate differs from others, as text for the legend."""
    values = candidate_values(search, number)
    tried = [path for path, several in search["parameters"].items() if len(several) > 1]
    return ", ".join(f"{path.rpartition('.')[2]} {values[path]}" for path in tried)


class Axes(NamedTuple):
    """The values at the edges of the plot. The axis to the right begins at 0."""

    last: float
    lowest: float
    highest: float

    @classmethod
    def around(cls, points: Points) -> "Axes":
        values = [value for _, value in points]
        return cls(max(place for place, _ in points), min(values), max(values))

    def point(self, place: float, value: float) -> str:
        """Return the point in the picture as `x,y`."""
        height = (value - self.lowest) / (self.highest - self.lowest) if self.highest > self.lowest else 0.5
        x = LEFT + (RIGHT - LEFT) * place / self.last
        return f"{x:.1f},{BOTTOM - (BOTTOM - TOP) * height:.1f}"


def _line(index: int, name: str, points: Points, axes: Axes) -> list[str]:
    """Return a curve and its name. Curves are dashed once all colours are used."""
    colour = COLOURS[index % len(COLOURS)]
    dashes = ' stroke-dasharray="6"' if index >= len(COLOURS) else ""
    line = " ".join(axes.point(*point) for point in points)
    return [
        f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"{dashes}/>',
        f'<text x="{RIGHT + 16}" y="{TOP + LINE * (index + 1)}" fill="{colour}">{escape(name)}</text>',
    ]


def _labels(axes: Axes, across: str, upwards: str) -> list[str]:
    return [
        f'<text x="{LEFT - 6}" y="{TOP + 4}" text-anchor="end">{axes.highest:.3g}</text>',
        f'<text x="{LEFT - 6}" y="{BOTTOM}" text-anchor="end">{axes.lowest:.3g}</text>',
        f'<text x="{RIGHT}" y="{BOTTOM + 16}" text-anchor="end">{across} {axes.last:.0f}</text>',
        f'<text x="{LEFT}" y="{BOTTOM + 16}">{escape(upwards)}</text>',
    ]
