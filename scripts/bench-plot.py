#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Draws what `make bench` measured of paging on demand, as SVG.

bench-plot.py RESULTS.tsv >PLOT.svg

Per architecture, three panels: instructions a page against memory, and against
vCPUs; and pages a second against vCPUs, which is all that depends on the host.
"""

import csv
import math
import sys

# The types of paging, in the order of the legend: label, colour, marker.
SERIES = {
    "uffd": ("userfaultfd, one thread", "#b5483a", "square"),
    "uffd-each": ("userfaultfd, a thread for each vCPU", "#d99a2b", "diamond"),
    "fault-copy": ("memory faults, UFFDIO_COPY", "#2a6f97", "circle"),
    "fault-mprotect": ("memory faults, mprotect() and a copy", "#5aa469", "up"),
    "none": ("no paging: the host's zeroed pages", "#8a8a8a", "down"),
}
# The panels: title, clock, axis x (the index of its number in the name), what
# the other number has to be, labels.
MEMORY, VCPUS = 3, 2
PANELS = (
    ("Instructions a page, 1 vCPU", "icount", MEMORY, 1, "memory, MiB"),
    ("Instructions a page, {} MiB", "icount", VCPUS, None, "vCPUs (the sum over all CPUs)"),
    ("Pages a second, {} MiB", "wall", VCPUS, None, "vCPUs"),
)
WIDTH, HEIGHT = 330, 250
LEFT, TOP, RIGHT, BOTTOM = 62, 40, 16, 50


def read(path):
    """{(arch, clock): [(type, vcpus, mib, value, low, high)]} of the series."""
    data = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            parts = row["name"].split("/")
            if row["kernel"] != "series" or parts[0] != "paging":
                continue
            numbers = [float(row[key]) for key in ("median", "q1", "q3")]
            if row["clock"] == "wall":
                numbers = [1e9 / ns for ns in (numbers[0], numbers[2], numbers[1])]
            data.setdefault((row["arch"], row["clock"]), []).append(
                (parts[1], int(parts[2]), int(parts[3]), *numbers))
    return data


def usual(rows):
    """The size of memory at which the number of vCPUs varies."""
    sizes = {}
    for row in rows:
        sizes.setdefault(row[2], set()).add(row[1])
    return max(sizes, key=lambda size: (len(sizes[size]), size))


def nice_top(value):
    """The end of an axis from 0 that has `value`, and the step of its ticks."""
    step = 10 ** math.floor(math.log10(value))
    for part in (0.2, 0.5, 1, 2):
        if value <= step * part * 6:
            step *= part
            break
    return math.ceil(value / step * 1.02) * step, step


def number(value):
    if value >= 1000:
        return f"{value / 1000:g}k"
    return f"{value:g}"


def marker(shape, x, y, colour):
    paths = {
        "square": "M-3.5-3.5h7v7h-7z",
        "diamond": "M0-5L5 0L0 5L-5 0z",
        "up": "M0-4.6L4.6 3.6H-4.6z",
        "down": "M0 4.6L4.6-3.6H-4.6z",
    }
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
    return (f'<path d="{paths[shape]}" transform="translate({x:.1f} {y:.1f})" '
            f'fill="{colour}"/>')


def text(x, y, words, kind="tick", anchor="middle", more=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" '
            f'text-anchor="{anchor}"{more}>{words}</text>')


class Panel:
    """One pair of axes; x is logarithmic, as each value doubles the last."""

    def __init__(self, lines, x0, y0):
        self.lines = lines
        self.left, self.top = x0 + LEFT, y0 + TOP
        self.right, self.bottom = x0 + WIDTH - RIGHT, y0 + HEIGHT - BOTTOM
        self.ticks = sorted({point[0] for line in lines.values() for point in line})
        self.high, self.step = nice_top(
            max(point[3] for line in lines.values() for point in line))

    def x(self, value):
        low, high = self.ticks[0], self.ticks[-1]
        span = math.log(high / low) or 1
        part = math.log(value / low) / span if high > low else 0.5
        return self.left + 18 + part * (self.right - self.left - 36)

    def y(self, value):
        return self.bottom - value / self.high * (self.bottom - self.top)

    def axes(self, title, label):
        out = [text((self.left + self.right) / 2, self.top - 14, title, "title")]
        value = 0
        while value <= self.high * 1.0001:
            y = self.y(value)
            out.append(f'<path d="M{self.left} {y:.1f}H{self.right}" '
                       f'class="{"grid" if value else "axis"}"/>')
            out.append(text(self.left - 7, y + 4, number(value), anchor="end"))
            value += self.step
        out.append(f'<path d="M{self.left} {self.top}V{self.bottom}" class="axis"/>')
        for value in self.ticks:
            x = self.x(value)
            out.append(f'<path d="M{x:.1f} {self.bottom}v5" class="axis"/>')
            out.append(text(x, self.bottom + 18, f"{value:g}"))
        out.append(text((self.left + self.right) / 2, self.bottom + 37, label))
        return out

    def curves(self):
        out = []
        for name, points in self.lines.items():
            _, colour, shape = SERIES[name]
            path = "L".join(f"{self.x(p[0]):.1f} {self.y(p[1]):.1f}" for p in points)
            out.append(f'<path d="M{path}" class="line" stroke="{colour}"/>')
            for x, value, low, high in points:
                if abs(self.y(low) - self.y(high)) > 2:
                    out.append(f'<path d="M{self.x(x):.1f} {self.y(low):.1f}'
                               f'V{self.y(high):.1f}" class="line" stroke="{colour}"/>')
                out.append(marker(shape, self.x(x), self.y(value), colour))
        return out


def lines_of(rows, axis, other):
    """{type: [(x, median, low, high)]} where the number that is not on the
    axis is `other`."""
    lines = {}
    for row in sorted(rows, key=lambda row: row[axis - 1]):
        if row[4 - axis] == other:
            lines.setdefault(row[0], []).append((row[axis - 1], *row[3:]))
    return {name: lines[name] for name in SERIES if name in lines}


def legend(y):
    out, x = [], LEFT
    for label, colour, shape in SERIES.values():
        if x + 300 > len(PANELS) * WIDTH + 24:
            x, y = LEFT, y + 20
        out.append(f'<path d="M{x} {y}h24" class="line" stroke="{colour}"/>')
        out.append(marker(shape, x + 12, y, colour))
        out.append(text(x + 31, y + 4, label, anchor="start"))
        x += 320
    return out


def draw(data):
    archs = sorted({arch for arch, _ in data}, reverse=True)
    out, y = [], 0
    for arch in archs:
        out.append(text(18, y + TOP + (HEIGHT - TOP - BOTTOM) / 2, arch, "title",
                        more=f' transform="rotate(-90 18 {y + TOP + 80})"'))
        for column, (title, clock, axis, other, label) in enumerate(PANELS):
            rows = data.get((arch, clock))
            if not rows:
                continue
            other = other or usual(rows)
            lines = lines_of(rows, axis, other)
            if not lines:
                continue
            panel = Panel(lines, 24 + column * WIDTH, y)
            out += panel.axes(title.format(other), label) + panel.curves()
        y += HEIGHT
    out += legend(y + 14)
    width, height = 24 + len(PANELS) * WIDTH, y + 50
    return "\n".join([
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<!-- SPDX-License-Identifier: GPL-2.0-only -->',
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">',
        "<style>text{font:12px sans-serif;fill:#222}.title{font-weight:bold}"
        ".axis{stroke:#222;fill:none}.grid{stroke:#ddd;fill:none}"
        ".line{fill:none;stroke-width:1.6}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        *out, "</svg>"])


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: bench-plot.py RESULTS.tsv >PLOT.svg")
    data = read(sys.argv[1])
    if not data:
        sys.exit(f"bench-plot.py: error: {sys.argv[1]} has no figures of paging")
    print(draw(data))


main()
