"""`quadfire patterns`: how neurons of a trained network repeat over time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import track
from rich.table import Table

from quadfire.arguments import DataFiles, PlainConsole
from quadfire.files import whole_file
from quadfire.models.commands.common import console, load, one_thread, write_json

if TYPE_CHECKING:
    from quadfire.models.quantize.patterns import Patterns

__all__ = ["patterns"]


def _picture(rows: list[Patterns], path: Path) -> None:
    """Bars of the shares of patterns, a bar a map."""
    from quadfire.models.dynamics.pictures import BLUE, GREEN, GREY, ORANGE, panels
    from quadfire.models.quantize.patterns import slots, word

    figure, (ax,) = panels(1, width=7.0, height=0.8 + 0.36 * len(rows))
    left = [0.0] * len(rows)
    names = [f"{row.name}{', pooled' if row.pooled else ''}" for row in rows]
    kinds = [(word(slot, rows[0].steps), [row.share(slot) for row in rows], color)
             for slot, color in zip(slots(rows[0].steps), (BLUE, GREEN, ORANGE), strict=False)]
    rest = [1 - sum(shares[i] for _, shares, _ in kinds) if row.active else 0.0
            for i, row in enumerate(rows)]
    for label, shares, color in [*kinds, ("others", rest, GREY)]:
        ax.barh(names, shares, left=left, color=color, label=label)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.set_xlabel("share of the neurons that spike at all")
    ax.legend(ncols=4, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    with whole_file(path) as part:
        figure.savefig(part, format=path.suffix[1:] or "png", dpi=150)


def patterns(
    network: Annotated[Path, typer.Argument(help="An integer network, as `quantize` writes it.")],
    data: DataFiles = None,
    images: Annotated[int, typer.Option(min=1, help="Held-out images, evenly over all.")] = 200,
    picture: Annotated[Path | None, typer.Option(
        dir_okay=False, help="A picture of the shares, .png or .svg.")] = None,
    output: Annotated[Path | None, typer.Option(
        "--output", "-o", "--out", dir_okay=False, help="A JSON file of all counts.")] = None,
) -> None:
    """How the neurons of a trained network repeat over its time steps, layer by layer.

    A neuron that fires in all steps, or in every other, could be one event on an array with slots
    for such patterns. The table has the share of each pattern among the neurons that spike at all,
    and the events an image: one a spike (direct), with slots, with slots that add up to other
    patterns (sums), and one for every neuron that spikes at all (active), below which no slots go.
    A pooled map is that of a layer as the next one reads it.

    \b
      quadfire patterns build/net-int8.safetensors --data ~/data --picture patterns.png
    """
    from quadfire.models.datasets import load_dataset
    from quadfire.models.integer import IntegerNetwork
    from quadfire.models.quantize.patterns import network_patterns, slots, word
    from quadfire.models.quantize.report import Selection, as_spikes, batch_of, batches

    one_thread()
    loaded, about = load(network)
    if not isinstance(loaded, IntegerNetwork):
        raise ValueError(f"{network}: a checkpoint; `quadfire quantize {network}` makes an integer "
                         "network of it")
    if "dataset" not in about:
        raise ValueError(f"{network}: it does not say its data set, as it was not quantized from "
                         "a trained checkpoint")
    samples = load_dataset(about["dataset"], data, steps=loaded.steps)
    chosen = Selection(samples.held_out_samples, images)
    size = min(batch_of(loaded), len(chosen))
    total = -(-len(chosen) // size)
    given = (as_spikes(inputs) for inputs, _ in track(
        batches(chosen, size), "images", total, console=console, transient=True))
    rows = network_patterns(loaded, given)
    own = [word(slot, loaded.steps) for slot in slots(loaded.steps)]
    table = Table("map", "rate", "active", *own, "others", "direct", "slots", "sums", "active")
    for row in rows:
        shares = [row.share(slot) for slot in slots(loaded.steps)]
        table.add_row(
            f"{row.name}{', pooled' if row.pooled else ''}", f"{row.rate:.3f}",
            f"{row.active / max(1, row.counts.sum()):.1%}", *(f"{share:.1%}" for share in shares),
            f"{1 - sum(shares):.1%}" if row.active else "-", f"{row.direct / row.images:,.0f}",
            *(f"{count / max(1, row.direct):.3f}"
              for count in (row.with_slots, row.with_sums, row.active)))
    PlainConsole(width=max(console.width, 110)).print(table)
    console.print(f"{len(chosen)} held-out images of {samples.name}; slots, sums, active: share of "
                  "the direct events", soft_wrap=True)
    if picture is not None:
        _picture(rows, picture)
        console.print(f"wrote {picture}")
    if output is not None:
        found: list[dict[str, Any]] = [
            {"map": row.name, "pooled": row.pooled, "images": row.images,
             "counts": {word(p, row.steps): int(n) for p, n in enumerate(row.counts)}}
            for row in rows]
        write_json(output, {"dataset": samples.name, "maps": found})
        console.print(f"wrote {output}")
