"""The file of a trained network, and what all files of training have in common.

A file is safetensors: named tensors, and one JSON text under the key `quadfire` of its metadata.
Nothing in it is a pickle. Entries of the JSON text in a checkpoint:

| entry | holds |
|---|---|
| `format`, `version` | "quadfire-checkpoint", 1 |
| `config` | what makes the network again: its kind, sizes, time steps and neuron |
| `about` | what the command wrote: data set, options, accuracy, spike rates, environment |

The tensors are the network's `state_dict`: parameters, and the running means of tdBN.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from quadfire.data.kinds import told
from quadfire.files import whole_file
from quadfire.models.integer import network_file
from quadfire.models.networks import ImageNetwork, network_from_config
from quadfire.models.networks.mlp import SpikingMLP

__all__ = ["CheckpointError", "load_checkpoint", "read", "reading", "save_checkpoint", "write"]

FORMAT = "quadfire-checkpoint"
VERSION = 1


class CheckpointError(ValueError):
    """A file that is damaged, of another kind, or of another version."""


def write(path: Path, kind: str, tensors: dict[str, Tensor], head: dict[str, Any]) -> None:
    """Write a file whose `format` is `kind`. It is there whole or not at all."""
    head = {"format": kind, "version": VERSION, **head}
    with whole_file(path) as part:
        save_file(tensors, part, {"quadfire": json.dumps(head, sort_keys=True)})


def read(path: str | Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(JSON, tensors) of a file that `write` wrote. CheckpointError for one of another kind."""
    if Path(path).is_dir():
        raise CheckpointError(f"{path} is a folder: name a .safetensors file")
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: there is no such file")
    with safe_open(path, framework="pt") as file:
        head = json.loads((file.metadata() or {})["quadfire"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if (head["format"], head["version"]) != (kind, VERSION):
        raise CheckpointError(f"{path}: holds {head['format']} version {head['version']}, not "
                              f"{kind} version {VERSION}")
    return head, tensors


@contextmanager
def reading(path: str | Path, what: str) -> Iterator[None]:
    """Turns whatever goes wrong inside into a CheckpointError: the file is not `what`."""
    try:
        yield
    except CheckpointError:
        raise
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError,
            AttributeError) as error:
        why = " ".join(str(error).split())      # PyTorch says it in several lines
        raise CheckpointError(f"{path}: not {what}{told(Path(path)) or f': {why}'}") from None


def save_checkpoint(path: str | Path, network: SpikingMLP | ImageNetwork,
                    metadata: dict[str, Any]) -> None:
    """Write a network; `metadata`, anything that JSON can hold, becomes `about`."""
    write(Path(path), FORMAT, network.state_dict(), {"config": network.config(),
                                                     "about": metadata})


def load_checkpoint(path: str | Path) -> tuple[SpikingMLP | ImageNetwork, dict[str, Any]]:
    """(network in eval mode, `about`). Raises CheckpointError that says what is wrong."""
    if network_file.format_of(Path(path)) == network_file.FORMAT:
        raise CheckpointError(f"{path} is an integer network already: name the checkpoint that it "
                              "was made from")
    with reading(path, "a checkpoint"):
        head, tensors = read(path, FORMAT)
        network = network_from_config(head["config"])
        network.load_state_dict(tensors)
        about = head["about"]
        if not isinstance(about, dict):
            raise TypeError(f"about must be an object, not {about!r}")
    network.eval()
    return network, about
