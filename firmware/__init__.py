"""Quadfire's host side: compiler, tape format and driver; numpy is all it needs.

    from firmware import Accelerator, compile

    program = compile(network, config)              # integer network -> passes and tapes
    with Accelerator(transport, config) as device:
        device.load(program)
        result = device.run(images)

The files in order: `layout` and `packets` are formats, `bounds` proves, `compiler` places,
`program` and `writer` make tapes, `transport` carries them, `accelerator` and `outputs` drive the
device.
"""

from quadfire.firmware.driver.accelerator import Accelerator, DeviceError, Info
from quadfire.firmware.compiler.overflow import CompileError
from quadfire.firmware.compiler.compile import compile
from quadfire.firmware.driver.outputs import Outputs
from quadfire.firmware.compiler.program import Program
from quadfire.firmware.transports.transport import Transport

__all__ = ["Accelerator", "CompileError", "DeviceError", "Info", "Outputs", "Program", "Transport",
           "compile"]
