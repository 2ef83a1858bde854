"""A network trained, and what there is to say about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quadfire.data.framing import AS_FOUND, Framing
from quadfire.models.commands.common import command_line, console

if TYPE_CHECKING:
    import torch

    from quadfire.models.datasets import Dataset, ImageDataset
    from quadfire.models.networks import ImageNetwork
    from quadfire.models.networks.mlp import SpikingMLP
    from quadfire.models.training.options import Options
    from quadfire.models.training.resume import Epoch

__all__ = ["begun", "trained"]


def trained(dataset: Dataset | ImageDataset, build: Callable[[], SpikingMLP | ImageNetwork],
            options: Options, *, device: str | torch.device = "cpu", workers: int = 0,
            framing: Framing = AS_FOUND, test: bool = True, log: Path | None = None,
            tensorboard: Path | None = None, checkpoints: tuple[Path, int] | None = None,
            **settings: Any) -> tuple[SpikingMLP | ImageNetwork, dict[str, Any]]:
    """A network that `build` makes, trained, and what there is to say about it.

    | argument | meaning |
    |---|---|
    | `test` | whether the held-out samples are looked at in the end |
    | `log`, `tensorboard` | a CSV file of all epochs; a folder of event files |
    | `checkpoints` | (path, n): a checkpoint after every n-th epoch, beside the path |
    | `settings` | further ones of `fit` |
    """
    import torch

    from quadfire.models.commands.progress import fit_watched
    from quadfire.models.datasets import Dataset
    from quadfire.models.networks import ImageNetwork
    from quadfire.models.networks.mlp import SpikingMLP
    from quadfire.models.training import parallel
    from quadfire.models.training.checkpoint import save_checkpoint
    from quadfire.models.training.log import TensorBoard, write_csv
    from quadfire.models.training.options import environment
    from quadfire.models.training.train import accuracy, measure

    torch.manual_seed(options.seed)
    network = build()
    kind = network.neuron_config["kind"]
    epochs: list[Epoch] = []
    board = TensorBoard(tensorboard) if tensorboard and parallel.is_first() else None
    start = time.perf_counter()

    def report(epoch: Epoch) -> None:
        epochs.append(epoch)
        if log is not None and parallel.is_first():
            write_csv(log, epochs)
        if board is not None:
            board.add(epoch)

    def told(epoch: Epoch) -> dict[str, Any]:
        about = {"command": command_line(), "dataset": dataset.name, "options": options.config(),
                 "accuracy": {"train": epoch.accuracy}, "spike_rates": epoch.rates,
                 "torch": torch.__version__, **framing.about()}
        if epoch.validation is not None:
            about["accuracy"]["validation"] = epoch.validation
        if dataset.name.startswith("own:"):
            about["input_bits"] = 0 if dataset.steps else 8
        if isinstance(network, ImageNetwork):
            so_far = [e for e in epochs if e.number < epoch.number]
            about |= {"environment": environment(device),
                      "history": [e.json() for e in (*so_far, epoch)]}
        return about

    def checkpoint(epoch: Epoch) -> None:
        if checkpoints is not None:
            save_checkpoint(checkpoints[0].with_suffix(f".epoch-{epoch.number}.safetensors"),
                            network, {**told(epoch), "epoch": epoch.number})

    if checkpoints is not None:
        settings |= {"checkpoint": checkpoint, "every": checkpoints[1]}
    epoch = fit_watched(network, dataset, options, f"{kind} seed {options.seed}", report,
                        device=device, workers=workers, **settings)
    seconds, about = time.perf_counter() - start, told(epoch)
    if not test:
        console.print(f"{kind} seed {options.seed}: {seconds:.0f} s; held-out images were not "
                      "looked at")
        return network, about
    if isinstance(network, SpikingMLP) and isinstance(dataset, Dataset):
        network.to("cpu")
        held_out, rates = accuracy(network, *dataset.held_out_set), network.rates
    else:
        held_out, rates = measure(network, dataset.held_out_samples, batch=options.batch,
                                  device=device, workers=workers)
    console.print(f"{kind} seed {options.seed}: [bold]{held_out:.2%}[/] of "
                  f"{len(dataset.held_out_samples)} held-out images, {seconds:.0f} s", markup=True)
    about["accuracy"]["held_out"] = held_out
    return network, {**about, "spike_rates": rates}


def begun(network: SpikingMLP | ImageNetwork, path: Path) -> SpikingMLP | ImageNetwork:
    """A network with the weights of a checkpoint, which may have other neurons and T."""
    from quadfire.models.training.checkpoint import load_checkpoint

    other, _ = load_checkpoint(path)
    theirs, ours = other.state_dict(), network.state_dict()
    for name, value in ours.items():
        learnt = ".neuron." in name
        if not learnt and (name not in theirs or theirs[name].shape != value.shape):
            found = list(theirs[name].shape) if name in theirs else "nothing"
            raise ValueError(f"--init {path}: {name} must be {list(value.shape)}, the file has "
                             f"{found}: it is of another network")
    if extra := [name for name in theirs if name not in ours and ".neuron." not in name]:
        raise ValueError(f"--init {path}: has {extra[0]}, which this network has not")
    network.load_state_dict({name: theirs[name] for name in ours if name in theirs
                             and theirs[name].shape == ours[name].shape}, strict=False)
    if other.neuron_config != network.neuron_config:
        console.print(f"{path} was trained with {other.neuron_config['kind']} neurons of other "
                      "parameters; its weights are where this run starts", soft_wrap=True)
    return network
