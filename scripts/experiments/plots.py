# SPDX-License-Identifier: Apache-2.0
"""Plain figures as SVG text: histogram, ECDF, line, bars. Standard library only.

Each function takes its data as {name: values} and returns a whole SVG document. Colours are those
of Okabe and Ito, which people with colour blindness can tell apart.
"""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 76, 16, 34, 46
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#888888"]
# More points than pixels say nothing.
MAX_POINTS = 600


def short(value):
    """A number of a tick."""
    if value == 0:
        return "0"
    if abs(value) >= 1e5 or abs(value) < 1e-3:
        return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    return f"{value:g}"


class Axis:
    """Maps values to places, linearly or by logarithm."""

    def __init__(self, low, high, log=False):
        self.log = log and low > 0
        if self.log:
            low, high = math.log10(low), math.log10(high)
        if high <= low:
            low, high = low - 0.5, high + 0.5
        self.low, self.high = low, high

    def share(self, value):
        """Where a value lies: 0 at the low end, 1 at the high one."""
        if self.log:
            value = math.log10(max(value, 1e-300))
        return min(1.02, max(-0.02, (value - self.low) / (self.high - self.low)))

    def ticks(self):
        if self.log:
            step = max(1, math.ceil((self.high - self.low) / 8))
            found = [10.0 ** e for e in range(math.ceil(self.low - 1e-9),
                                              math.floor(self.high + 1e-9) + 1, step)]
            return found if len(found) > 1 else [10 ** self.low, 10 ** self.high]
        raw = (self.high - self.low) / 6
        power = 10 ** math.floor(math.log10(raw))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(i * step, 12) for i in range(first, last + 1)]


class Figure:
    """A frame with two axes, in which curves are drawn."""

    def __init__(self, title, x_label, y_label, x_axis, y_axis):
        self.x_axis, self.y_axis = x_axis, y_axis
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
        self.text((LEFT + WIDTH - RIGHT) / 2, 18, title, "middle", "font-weight='bold'")
        self.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_label, "middle")
        middle = (TOP + HEIGHT - BOTTOM) / 2
        self.text(14, middle, y_label, "middle", f"transform='rotate(-90 14 {middle})'")

    def x(self, value):
        return LEFT + self.x_axis.share(value) * (WIDTH - LEFT - RIGHT)

    def y(self, value):
        return HEIGHT - BOTTOM - self.y_axis.share(value) * (HEIGHT - TOP - BOTTOM)

    def text(self, x, y, words, anchor="start", more=""):
        self.parts.append(f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' {more}>"
                          f"{escape(str(words))}</text>")

    def line(self, x1, y1, x2, y2, colour="#333", width=1):
        self.parts.append(f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' "
                          f"stroke='{colour}' stroke-width='{width}'/>")

    def grid(self, with_x=True):
        for value in self.y_axis.ticks():
            self.line(LEFT, self.y(value), WIDTH - RIGHT, self.y(value), "#ddd")
            self.text(LEFT - 6, self.y(value) + 4, short(value), "end")
        for value in self.x_axis.ticks() if with_x else []:
            self.line(self.x(value), HEIGHT - BOTTOM, self.x(value), HEIGHT - BOTTOM + 4)
            self.text(self.x(value), HEIGHT - BOTTOM + 17, short(value), "middle")
        self.line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM)
        self.line(LEFT, TOP, LEFT, HEIGHT - BOTTOM)

    def curve(self, points, colour):
        if len(points) > MAX_POINTS:
            step = len(points) / MAX_POINTS
            points = [points[int(i * step)] for i in range(MAX_POINTS)] + [points[-1]]
        places = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self.parts.append(f"<polyline points='{places}' fill='none' stroke='{colour}' "
                          f"stroke-width='1.6'/>")

    def legend(self, names):
        for number, name in enumerate(names):
            at = TOP + 12 + 16 * number
            self.line(WIDTH - RIGHT - 20, at - 4, WIDTH - RIGHT, at - 4, colour(number), 3)
            self.text(WIDTH - RIGHT - 26, at, name, "end")

    def done(self):
        return "\n".join([*self.parts, "</svg>", ""])


def colour(number):
    return COLOURS[number % len(COLOURS)]


def _range(values, from_zero=False, log=False):
    values = [v for v in values if v is not None and (v > 0 or not log)]
    if not values:
        raise ValueError("a figure of nothing")
    low, high = min(values), max(values)
    return (min(0, low) if from_zero and not log else low), high


def _all(series):
    return [value for values in series.values() for value in values]


def histogram(title, series, x_label, bins=40, log=False):
    """Shares of the samples of each series; with `log` the axis and the bins are logarithmic."""
    low, high = _range(_all(series), log=log)
    axis = Axis(low, high, log)
    bars = {}
    for name, values in series.items():
        counts = [0] * bins
        for value in values:
            counts[min(bins - 1, max(0, int(axis.share(value) * bins)))] += 1
        bars[name] = [count / max(1, len(values)) for count in counts]
    figure = Figure(title, x_label, "share of samples", axis, Axis(0, max(_all(bars)) * 1.05))
    figure.grid()
    base, step = HEIGHT - BOTTOM, (WIDTH - LEFT - RIGHT) / bins
    for number, shares in enumerate(bars.values()):
        places = [f"M{LEFT},{base}"]
        for index, share in enumerate(shares):
            places.append(f"L{LEFT + index * step:.1f},{figure.y(share):.1f}"
                          f"L{LEFT + (index + 1) * step:.1f},{figure.y(share):.1f}")
        places.append(f"L{WIDTH - RIGHT},{base}")
        figure.parts.append(f"<path d='{''.join(places)}' fill='{colour(number)}' "
                            f"fill-opacity='0.25' stroke='{colour(number)}'/>")
    figure.legend(series)
    return figure.done()


def ecdf(title, series, x_label, log=False):
    """The share of samples that are at most so large."""
    low, high = _range(_all(series), log=log)
    figure = Figure(title, x_label, "share of samples", Axis(low, high, log), Axis(0, 1))
    figure.grid()
    for number, values in enumerate(series.values()):
        ordered = sorted(values)
        steps = [(ordered[0], 0.0)]
        for index, value in enumerate(ordered):
            steps += [(value, index / len(ordered)), (value, (index + 1) / len(ordered))]
        figure.curve(steps, colour(number))
    figure.legend(series)
    return figure.done()


def line(title, series, x_label, y_label, log_x=False, log_y=False):
    """Curves through {name: [(x, y), ...]}."""
    points = _all(series)
    x_axis = Axis(*_range([x for x, _ in points], log=log_x), log_x)
    y_axis = Axis(*_range([y for _, y in points], True, log_y), log_y)
    figure = Figure(title, x_label, y_label, x_axis, y_axis)
    figure.grid()
    for number, curve in enumerate(series.values()):
        figure.curve(curve, colour(number))
    figure.legend(series)
    return figure.done()


def bars(title, rows, y_label, log=False):
    """Bars of [(name, value, low, high), ...]; the interval is drawn, a bound may be None."""
    values = [v for _, value, low, high in rows for v in (value, low, high)]
    axis = Axis(*_range(values, True, log), log)
    if axis.log:
        axis.low = math.floor(axis.low)
    figure = Figure(title, "", y_label, Axis(0, len(rows)), axis)
    figure.grid(with_x=False)
    base = HEIGHT - BOTTOM
    for number, (name, value, low, high) in enumerate(rows):
        left, middle, right = (figure.x(number + part) for part in (0.15, 0.5, 0.85))
        top = figure.y(value) if value > 0 or not axis.log else base
        figure.parts.append(f"<rect x='{left:.1f}' y='{top:.1f}' width='{right - left:.1f}' "
                            f"height='{max(0.0, base - top):.1f}' fill='{colour(number)}'/>")
        ends = [figure.y(end) for end in (low, high) if end is not None and (end > 0 or not log)]
        if len(ends) == 2:
            figure.line(middle, ends[0], middle, ends[1], "#000", 1.5)
        for end in ends:
            figure.line(middle - 5, end, middle + 5, end, "#000", 1.5)
        for index, part in enumerate(name.split("\n")):
            figure.text(middle, base + 15 + 13 * index, part, "middle", "font-size='11'")
    return figure.done()
