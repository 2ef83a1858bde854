"""The host software: compiler, tape format and driver. It needs numpy and safetensors, no torch.

    from quadfire.firmware import Accelerator, compile

    program = compile(network, config)              # integer network -> passes
    with Accelerator(transport, config) as device:
        device.load(program)
        result = device.run(images)

The folders, in the order in which data flow; each uses only those before it, and the driver uses
the transports:

| folder | holds |
|---|---|
| `errors` | CompileError, DeviceError |
| `tape` | the format: packets, memory layout, a writer |
| `compiler` | from an integer network to a `Program` |
| `transports` | ways to a device |
| `driver` | loads programs, runs inputs, checks answers |
| `c`, `zynq` | a driver in C, a block design for a Zynq |
| `commands` | the command line |
"""

from quadfire.firmware.compiler.compile import compile_network as compile  # noqa: A004  (the public name)
from quadfire.firmware.compiler.program import Program
from quadfire.firmware.driver.accelerator import Accelerator, Info
from quadfire.firmware.driver.outputs import Outputs
from quadfire.firmware.errors import CompileError, DeviceError
from quadfire.firmware.transports.transport import Transport

__all__ = ["Accelerator", "CompileError", "DeviceError", "Info", "Outputs", "Program", "Transport",
           "compile"]
