"""Wall time of the recording by the number of cores, drawn as SVG from data/results/scaling.json.

- directive  {scaling-curve}   both axes logarithmic: the simulated times, the hours of work shared
             options:          evenly, and the critical path, which no number of cores can undercut
             caption, name

It needs no picture file, so it follows the numbers, the page's width and its dark mode.
"""

from __future__ import annotations

import math
from html import escape
from typing import ClassVar

from docutils import nodes
from hw2numbers import entry, missing, number, read
from hw2report import Reported
from sphinx.application import Sphinx

NAME = "scaling"
WIDTH, HEIGHT = 360, 250  # of the drawing, in the units of its text
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 14, 40  # margins
HOURS = (1, 2, 5, 10, 20, 50)


class ScalingCurve(Reported):
    """{scaling-curve}: how the recording's wall time falls with the cores."""

    option_spec: ClassVar = {"caption": str, "name": str}

    def content_nodes(self) -> list[nodes.Node]:
        result = read(self.env, NAME)
        if result is None:
            return missing(NAME)
        walls = {
            r["setting"]["workers"]: r["mean"]
            for r in result["records"]
            if r["score"] == "wall" and [*r["setting"]] == ["workers"]
        }
        hours, path = (entry(result, "all", of, {})["mean"] for of in ("hours", "critical_path"))
        return [self.figure(drawn(walls, hours, path))]


def drawn(walls: dict[int, float], hours: float, path: float) -> str:
    """The drawing of {cores: hours of wall time}; hours of work in all, and of the longest way."""
    cores = sorted(walls)
    low, high = min(HOURS), max(HOURS)

    def x(n: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(n) / math.log(cores[-1])

    def y(t: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * math.log(high / t) / math.log(high / low)

    def line(points: list[tuple[float, float]], style: str) -> str:
        at = " ".join(f"{x(n):.1f},{y(t):.1f}" for n, t in points)
        return f'<polyline points="{at}" fill="none" stroke="currentColor" {style}/>'

    def text(at_x: float, at_y: float, said: str, anchor: str = "middle") -> str:
        return f'<text x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}">{escape(said)}</text>'

    ends = (hours / high, hours / low)  # where the line of equal shares enters and leaves
    parts = [
        *(line([(1, t), (cores[-1], t)], 'stroke-width=".5" opacity=".3"') for t in HOURS),
        line([(max(1, n), hours / max(1, n)) for n in ends], 'stroke-dasharray="4 3"'),
        line([(1, path), (cores[-1], path)], 'stroke-dasharray="1 3"'),
        line([(n, walls[n]) for n in cores], 'stroke-width="2"'),
        *(f'<circle cx="{x(n):.1f}" cy="{y(walls[n]):.1f}" r="4" fill="currentColor"/>'
          for n in cores),
        *(text(x(n), HEIGHT - BOTTOM + 16, str(n)) for n in cores),
        *(text(LEFT - 6, y(t) + 4, str(t), "end") for t in HOURS),
        text((LEFT + WIDTH) / 2, HEIGHT - 6, "cores"),
        text(LEFT + 2, 10, "hours", "start"),
        text(x(cores[1]) + 2, y(path) - 5, "critical path", "start"),
        text(x(min(cores[-1], hours / low)) - 24, y(low) - 6, "hours / cores", "end"),
    ]  # fmt: skip
    said = "; ".join(f"{n} cores {number(walls[n], 'h')} hours" for n in cores)
    return (f'<svg class="hw2-curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="{escape(said)}">{"".join(parts)}</svg>')  # fmt: skip


def setup(app: Sphinx) -> dict:
    app.add_directive("scaling-curve", ScalingCurve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
