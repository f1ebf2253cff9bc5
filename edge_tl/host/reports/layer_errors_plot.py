"""How much noise INT8 adds to each layer, in the order of the network, as inline SVG. Measures nothing."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from edge_tl.device.format import number, one_line
from edge_tl.device.records.artifact import LayerError
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.reports.svg import BAD, INK, SERIES, heading, inline, label_axis, plane
from edge_tl.host.reports.table import Column, Table

HEIGHT = 300.0
WORST = 3
ROOM = 0.05  # of the axis: what a number needs
NOISE = (
    Column("place", "place"),
    Column("layer", "layer", False),
    Column("sqnr", "signal to noise, dB"),
)
EXPLANATION = (
    "How strong each layer's output is against what INT8 changes of it, on golden images: at 20 dB the change is a "
    "tenth of the output, at 40 dB a hundredth. Higher is better. Noise adds up, so a layer holds that of all before "
    "it; the answers can be right all the same, and only they count. Ring: the noisiest. Of ONNX Runtime's INT8, "
    "without gates."
)


def noisy_layers(record: BundleRecord) -> tuple[LayerError, ...]:
    """In the order of the network; none where nothing measured them."""
    return next((each.layer_errors for each in record.artifacts if each.layer_errors), ())


def layer_errors_plot(record: BundleRecord) -> Markup | None:
    """The worst three with a ring and a number. None where fewer than two layers are known."""
    layers = noisy_layers(record)
    if len(layers) < 2:
        return None
    figure, axes = plane(HEIGHT)
    label_axis(axes, "y", "layer, from the first to the last")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    values = [layer.sqnr_db for layer in layers]
    x = range(1, len(values) + 1)
    axes.plot(x, values, color=SERIES[0], lw=1.6, marker="o", ms=3.5)
    axes.set_xlim(0, len(values) + 1)
    axes.set_ylim(min(0.0, *values) - 4, max(values) + 4)
    for group in _adjacent(worst(layers), len(values)):
        for place in group:
            axes.plot([place + 1], [values[place]], "o", ms=10, mew=1.8, mec=BAD, mfc="none")
        x_of, lowest = sum(place + 1 for place in group) / len(group), min(values[place] for place in group)
        mark = {"xycoords": "data", "textcoords": "offset points", "ha": "center", "va": "top"}
        name = ", ".join(str(place + 1) for place in group)
        axes.annotate(name, (x_of, lowest), (0, -8), **mark, fontsize=11, color=INK)
    heading(axes, "signal to noise, dB")
    said = "; ".join(
        f"layer {place + 1}, {one_line(layers[place].layer)}: {number(values[place], 1)} dB"
        for place in worst(layers)
    )
    return inline(figure, "noise", "Noise of INT8 in each layer", f"The noisiest: {said}.")


def _adjacent(places: Sequence[int], layers: int) -> list[list[int]]:
    """Places in their order; those whose numbers would meet are together, and get one."""
    room = ROOM * (layers + 1)
    groups: list[list[int]] = []
    for place in sorted(places):
        if groups and place - groups[-1][-1] < room:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def worst(layers: tuple[LayerError, ...]) -> list[int]:
    """Indices of the noisiest, the noisiest first."""
    return sorted(range(len(layers)), key=lambda i: layers[i].sqnr_db)[:WORST]


def noise_table(record: BundleRecord) -> Table:
    """A row for each layer; the noisiest have a mark."""
    layers = noisy_layers(record)
    marked = worst(layers)
    rows = [
        {
            "place": number(i + 1, 0),
            "layer": one_line(layer.layer),
            "sqnr": number(layer.sqnr_db, 1),
            "mark": "noisy" if i in marked else "",
        }
        for i, layer in enumerate(layers)
    ]
    return Table(NOISE, rows)
