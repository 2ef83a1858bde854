"""What a user names on the command line: a Python file with a network, its weights, arrays.

No pickle is read: weights come with `weights_only=True` or as safetensors, arrays as .npy or .npz.
"""

import importlib.util
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from quadfire.data.files import checked, read_arrays

__all__ = ["load_weights", "module_from_file", "read_samples"]

#: Keys under which people keep a state dict beside other things.
_NESTED = ("state_dict", "model_state_dict", "model", "net", "network")
_MAGIC = {b"\x89HDF": "a NIR or other HDF5 file", b"\x93NUM": "an array"}


def module_from_file(source: str) -> nn.Module:
    """The module that a function of a Python file returns, "FILE.py:FUNCTION".

    The file runs as a module of its own, with its folder on the path. Raises ValueError where there
    is no such file or function, where it raises, and where it returns something else.
    """
    name, _, function = source.rpartition(":")
    path = Path(name)
    if not name or path.suffix != ".py":
        raise ValueError(f"{source}: say FILE.py:FUNCTION, a function that returns the network")
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    spec = importlib.util.spec_from_file_location(f"_network_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(made)
        if not callable(getattr(made, function, None)):
            found = [n for n, value in vars(made).items() if callable(value)
                     and getattr(value, "__module__", None) == spec.name]
            raise ValueError(f"{path}: there is no function {function!r}; it defines "
                             f"{', '.join(found) or 'none'}")
        network = getattr(made, function)()
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{path}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    if not isinstance(network, nn.Module):
        raise ValueError(f"{source} returned a {type(network).__name__}, not a torch.nn.Module")
    return network


def _state(path: Path) -> dict[str, Any]:
    """The dictionary in a .pt or .safetensors file."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    with path.open("rb") as file:
        start = file.read(8)
    if kind := _MAGIC.get(start[:4]):
        raise ValueError(f"{path}: this is {kind}, not weights")
    if path.suffix == ".safetensors":
        try:
            return dict(load_file(path))
        except (SafetensorError, OSError, ValueError) as error:
            raise ValueError(f"{path}: not a safetensors file: {error}") from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        if start[:2] != b"PK" and start[:1] != b"\x80":
            raise ValueError(f"{path}: not weights that torch.save wrote") from None
        raise ValueError(f"{path} holds more than tensors, which is not read: save "
                         "net.state_dict(), not the network") from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: not weights that torch.save wrote: {line}") from None


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a state dict, .pt or .safetensors, every tensor of it.

    Raises ValueError naming the file for what is no state dict, for tensors that are missing, too
    many or of another shape, and for NaN.
    """
    state = _state(path)
    if isinstance(state, dict) and not any(isinstance(v, Tensor) for v in state.values()):
        inner = next((state[key] for key in _NESTED if isinstance(state.get(key), dict)), None)
        state = state if inner is None else inner
    if not isinstance(state, dict) or not state or not all(
            isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()):
        raise ValueError(f"{path} is no state dict of tensors: save net.state_dict()")
    for name, tensor in state.items():
        if tensor.is_floating_point() and torch.isnan(tensor).any():
            raise ValueError(f"{path}: {name} is NaN")
    own = module.state_dict()
    missing, extra = [*(own.keys() - state.keys())], [*(state.keys() - own.keys())]
    if missing or extra:
        parts = [f"lacks {', '.join(sorted(missing)[:4])}"] if missing else []
        parts += [f"has {', '.join(sorted(extra)[:4])}, which the network has not"] if extra else []
        raise ValueError(f"{path} {' and '.join(parts)}: are they weights of this network?")
    for name, tensor in state.items():
        if tensor.shape != own[name].shape and tensor.numel() != own[name].numel():
            raise ValueError(f"{path}: {name} is {list(tensor.shape)}, the network's "
                             f"{list(own[name].shape)}")
    module.load_state_dict({name: tensor.reshape(own[name].shape)
                            for name, tensor in state.items()})


def read_samples(path: Path) -> tuple[Tensor, Tensor | None]:
    """(x, labels) of a file: .npy holds x; .npz x, and y if there are labels; .pt a tensor."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    labels = None
    if path.suffix == ".npz":
        arrays = read_arrays(path, ("x", "y"))
        if "x" not in arrays:
            raise ValueError(f"{path}: holds no array x")
        x, labels = arrays["x"], arrays.get("y")
    elif path.suffix == ".npy":
        with checked(path):
            x = np.array(np.load(path, mmap_mode="r", allow_pickle=False))   # size before memory
    elif path.suffix == ".pt":
        x = _state(path)
        if not isinstance(x, Tensor):
            raise ValueError(f"{path}: must hold one tensor, not a {type(x).__name__}")
        x = x.numpy()
    else:
        raise ValueError(f"{path}: samples are an .npy, an .npz (x, y) or a .pt of one tensor")
    if x.dtype.kind not in "fiub":
        raise ValueError(f"{path}: x must be numbers, not {x.dtype}")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise ValueError(f"{path}: x holds NaN or infinite values")
    kept = x.astype(x.dtype.newbyteorder("=")) if x.dtype.kind != "u" or x.itemsize == 1 \
        else x.astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(kept)), \
        None if labels is None else torch.from_numpy(labels.astype(np.int64))
