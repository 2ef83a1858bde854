"""What the commands share: the terminal, arguments, devices, and files of either kind."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from quadfire.arguments import PlainConsole
from quadfire.data.kinds import told
from quadfire.files import whole_file
from quadfire.paths import PRETRAINED

if TYPE_CHECKING:
    import torch

    from quadfire.models.integer import IntegerNetwork
    from quadfire.models.networks import ImageNetwork
    from quadfire.models.networks.mlp import SpikingMLP

__all__ = ["CHECKPOINT", "Data", "Device", "Output", "Seed", "command_line",
           "console", "device_of", "load", "one_thread", "write_json"]

CHECKPOINT = PRETRAINED / "mnist5k-784-128-10.safetensors"

console = PlainConsole()

Data = Literal["mnist5k", "digits", "mnist10k", "mnist", "cifar10", "cifar100", "imagenet",
               "cifar10dvs", "nmnist", "dvsgesture", "own"]
Seed = Annotated[int, typer.Option(help="Of weights, order and augmentation; a run repeats to the "
                                        "bit on the same machine.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU if there is one.")]
Output = Annotated[Path | None, typer.Option(
    "--output", "-o", "--out", dir_okay=False, help="File to write; by default under build/.")]


def one_thread(threads: int = 1) -> None:
    """Let PyTorch compute in one thread, or in so many.

    On small layers one is as fast as many, and results then do not depend on the number of cores.
    """
    import torch

    torch.set_num_threads(threads)


def command_line() -> str:
    """The command that runs, as it was typed."""
    return shlex.join(["quadfire", *sys.argv[1:]])


def write_json(path: Path, results: dict[str, Any]) -> None:
    """A file of results, and of the command that made them."""
    with whole_file(path) as part:
        part.write_text(json.dumps({"command": command_line(), **results}, indent=2) + "\n")


def device_of(device: str) -> "torch.device":
    """The torch device of that name; "auto" is a GPU if there is one.

    A GPU is made deterministic.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
    except RuntimeError:
        raise ValueError(f"there is no device {device!r}; say cpu, cuda or auto") from None
    if place.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError("there is no GPU here: --device cpu")
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    return place


def load(path: Path) -> "tuple[SpikingMLP | ImageNetwork | IntegerNetwork, dict[str, Any]]":
    """A file of either kind, and what it says of itself."""
    from quadfire.models.integer import IntegerNetwork, network_file
    from quadfire.models.training import checkpoint

    if not path.exists():
        raise ValueError(f"{path}: there is no such file")
    kind = network_file.format_of(path)
    if kind == checkpoint.FORMAT:
        return checkpoint.load_checkpoint(path)
    if kind == network_file.FORMAT:
        network = IntegerNetwork.load(path)
        return network, network.about
    hint = ": it is a folder, name a file in it" if path.is_dir() else \
        f": an array? see `quadfire configs {path}`" if path.suffix == ".json" else told(path)
    raise ValueError(f"{path}: neither a checkpoint nor an integer network{hint}")
