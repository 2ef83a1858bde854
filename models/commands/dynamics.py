"""`quadfire dynamics`: a neuron's theory, printed and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from quadfire.arguments import PlainConsole
from quadfire.models.commands.common import one_thread

__all__ = ["dynamics"]

console = PlainConsole()


def dynamics(
    a: Annotated[float, typer.Option(help="Curvature.")] = 0.25,
    u1: Annotated[float, typer.Option(help="First root.")] = 0.0,
    u2: Annotated[float, typer.Option(help="Second root.")] = 0.5,
    v_threshold: float = 1.0,
    v_reset: Annotated[float, typer.Option(help="Where a spike resets the membrane to.")] = 0.0,
    soft: Annotated[bool, typer.Option("--soft", help="Reset by subtraction instead.")] = False,
    alpha: Annotated[float, typer.Option(help="Of tdBN: currents have the standard deviation "
                                              "alpha V_th.")] = 1.0,
    i_max: Annotated[float | None, typer.Option(help="Largest current, for the range of the "
                                                     "state. By default 4 alpha V_th.")] = None,
    pictures: Annotated[bool, typer.Option(help="Draw them as well.")] = True,
    output: Annotated[Path, typer.Option(
        "--output", "-o", "--out", file_okay=False,
        help="Folder of the pictures.")] = Path("build/dynamics"),
) -> None:
    """The QIF neuron u' = a(u-u1)(u-u2) + I in theory: numbers, and five pictures.

    Fixed points, thresholds, boundedness and the range hardware needs; moments of the membrane
    potential behind tdBN, formula against Monte Carlo; the surrogate windows that follow.
    """
    from quadfire.models.dynamics import report
    from quadfire.models.neurons import QIF

    one_thread()
    model = QIF(a, u1, u2, v_threshold=v_threshold, v_reset=None if soft else v_reset)
    neuron = model.quadratic_map()
    table = Table("quantity", "value", "meaning")
    for row in report.rows(neuron, alpha, 4 * alpha * v_threshold if i_max is None else i_max):
        table.add_section() if row is None else table.add_row(*row)
    console.print(table)
    if pictures:
        from quadfire.models.dynamics.pictures import draw_all

        for path in draw_all(neuron, output, alpha):
            console.print(f"wrote {path}")
