"""Quadfire: trained spiking networks of quadratic integrate-and-fire neurons on FPGAs.

    import quadfire

    network = quadfire.load("net.safetensors")              # an integer network
    config = quadfire.read_config("default")                # an array: a name, or a JSON file
    program = quadfire.compile(network, config)             # does it fit, and in how many passes?
    with quadfire.connect("sim", config) as device:         # or "serial:/dev/ttyUSB0"
        device.load(program)
        print(device.run(images).outputs.argmax(axis=1))

| room | holds | needs |
|---|---|---|
| `quadfire.rtl` | the hardware in Amaranth, its configuration and its arithmetic | extra `hdl` |
| `quadfire.models` | networks: training, quantisation, the integer reference | extra `train` |
| `quadfire.firmware` | compiler, driver, transports to a device | numpy |
| `quadfire.sim` | the Verilated array, test benches, cycle model, reports | extra `sim` |

A name below is imported when it is first used: `import quadfire` itself loads nothing of all this.
The command line is `quadfire --help`.
"""

import importlib
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quadfire.firmware import (
        Accelerator,
        CompileError,
        DeviceError,
        Outputs,
        Program,
        Transport,
    )
    from quadfire.firmware.compiler.compile import compile_network
    from quadfire.firmware.driver.connect import connect
    from quadfire.models.integer import IntegerNetwork, NetworkError
    from quadfire.rtl.contract.config import PRESETS, ArrayConfig, preset
    from quadfire.rtl.contract.config_file import read_config

    compile = compile_network  # noqa: A001  (the public name)
    load = IntegerNetwork.load

__version__ = "0.2.0"

__all__ = ["PRESETS", "Accelerator", "ArrayConfig", "CompileError", "DeviceError",
           "IntegerNetwork", "NetworkError", "Outputs", "Program", "Transport", "__version__",
           "compile", "connect", "load", "preset", "read_config"]

#: Public name -> where it is defined, as "module" or "module:its name there".
_HOMES = {
    **dict.fromkeys(("Accelerator", "CompileError", "DeviceError", "Outputs", "Program",
                     "Transport", "compile"), "quadfire.firmware"),
    "connect": "quadfire.firmware.driver.connect",
    **dict.fromkeys(("IntegerNetwork", "NetworkError"), "quadfire.models.integer"),
    "load": "quadfire.models.integer:IntegerNetwork.load",
    **dict.fromkeys(("PRESETS", "ArrayConfig", "preset"), "quadfire.rtl.contract.config"),
    "read_config": "quadfire.rtl.contract.config_file",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'quadfire' has no attribute {name!r}")
    module, _, there = _HOMES[name].partition(":")
    value = attrgetter(there or name)(importlib.import_module(module))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
