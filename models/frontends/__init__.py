"""Frontends: networks that were trained with other libraries become graphs that the array runs.

| file | holds |
|---|---|
| `recording.py` | one run of a module's own forward, as a graph of what fed what |
| `neurons/` | the neurons of snnTorch, SpikingJelly, Norse and Sinabs in the canonical form |
| `translation.py` | the graph becomes layers; all that cannot be honoured is collected |
| `importing.py` | `from_module` and its kin: input, time steps, answer |
| `nir.py`, `nir_*.py` | `from_nir`: files in the NIR format, read by h5py alone |
| `imported.py` | the result, an `Imported`: what `to_grid` takes, with `explain` and `check` |
| `check.py` | every spike of every layer of the module against the map, in float64 |
| `encoding.py`, `fitting.py` | inputs as the array takes them; training on the integer grid |
| `sources.py` | what the command line names: Python files, weights, arrays |

    from quadfire.models.frontends import from_snntorch

    net = from_snntorch(module, x[:1], input="pixels")
    print(net.explain(), net.check(module, x))
    integers = to_integer(net.to_grid(inputs=net.inputs(x)))

No library is imported here: a module that arrives has brought its own.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quadfire.models.frontends.fitting import fit
    from quadfire.models.frontends.importing import (
        from_module,
        from_norse,
        from_sinabs,
        from_snntorch,
        from_spikingjelly,
    )
    from quadfire.models.frontends.nir import from_nir

__all__ = ["fit", "from_module", "from_nir", "from_norse", "from_sinabs", "from_snntorch",
           "from_spikingjelly"]

_PLACES = {"fit": "fitting", "from_nir": "nir"}


def __getattr__(name: str) -> Any:
    """Import a function when it is asked for: `--help` of a command must not wait for PyTorch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = _PLACES.get(name, "importing")
    return getattr(importlib.import_module(f"{__name__}.{place}"), name)
