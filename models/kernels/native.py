"""C++ beside Python: compiled on first use by the machine's own compiler, called through ctypes.

A source is compiled into the user's cache (`$XDG_CACHE_HOME/quadfire`, `~/.cache/quadfire`), under
a name that holds a digest of source, compiler and processor. Without a compiler, or with
`QUADFIRE_NATIVE=0`, there is no library, and callers use plain PyTorch instead. `$CXX` names the
compiler.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["address", "first_derivative", "library", "threads"]

#: No contraction into fused multiply-adds: results are the same on every processor.
FLAGS = ("-O3", "-march=native", "-std=c++17", "-fopenmp", "-fPIC", "-shared", "-ffp-contract=off",
         "-fno-math-errno", "-fno-trapping-math")


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where they cannot be had."""
    if os.environ.get("QUADFIRE_NATIVE", "1") == "0":
        return None
    compiler = shlex.split(os.environ.get("CXX") or "g++")
    if shutil.which(compiler[0]) is None or os.name != "posix":
        return None
    sources = sorted(Path(__file__).parent.glob("*.cpp"))
    version = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False)
    digest = hashlib.sha256("\n".join(
        [*(path.read_text() for path in sources), *FLAGS, version.stdout, _processor()]).encode())
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "quadfire"
    target = folder / f"kernels-{digest.hexdigest()[:16]}.so"
    try:
        if not target.is_file():
            _compile(compiler, sources, target)
        return _declared(ctypes.CDLL(str(target)))
    except (OSError, subprocess.CalledProcessError) as error:
        why = (getattr(error, "stderr", None) or "").strip() or str(error)
        warnings.warn("the kernels of C++ cannot be built, so plain PyTorch trains instead, "
                      f"several times slower: {why.splitlines()[0]}", stacklevel=2)
        return None


def _processor() -> str:
    """What `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _compile(compiler: list[str], sources: list[Path], target: Path) -> None:
    """Compile beside the target, then rename: processes that start together do not meet."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        subprocess.run([*compiler, *FLAGS, *map(str, sources), "-o", str(made)], check=True,
                       capture_output=True, text=True)
        made.replace(target)


def _declared(loaded: ctypes.CDLL) -> ctypes.CDLL:
    """The library with what its functions return."""
    loaded.qf_neuron_forward.restype = ctypes.c_int64
    loaded.qf_density.restype = ctypes.c_double
    for name in ("qf_moments", "qf_neuron_backward", "qf_affine_gradient", "qf_pool_forward",
                 "qf_pool_backward", "qf_events_forward", "qf_events_weights",
                 "qf_winograd_inputs", "qf_winograd_gradients", "qf_winograd_outputs"):
        getattr(loaded, name).restype = None
    return loaded


def threads() -> ctypes.c_int:
    """As many threads as PyTorch uses."""
    return ctypes.c_int(torch.get_num_threads())


def address(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where the values of a tensor lie; a null pointer for None."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def first_derivative(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A backward pass that has no derivative itself. Raises RuntimeError where one is wanted."""
    @wraps(backward)
    def checked(ctx: Any, *grads: Any) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError("the kernels have no second derivatives (create_graph=True): set "
                               "QUADFIRE_NATIVE=0 for those of plain PyTorch")
        return backward(ctx, *grads)

    return checked
