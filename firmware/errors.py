"""The errors that a user of the host software meets, below all rooms that raise them.

| error | raised by | it says |
|---|---|---|
| `CompileError` | compiler | why this array cannot run the network, and what would help |
| `DeviceError` | driver, transports | what the device refused, or which answer is impossible |

Errors of a transport (`OSError`, `TimeoutError`) are Python's own.
"""

from quadfire.rtl.contract.tape import Fault

__all__ = ["CompileError", "DeviceError"]


class CompileError(ValueError):
    """This array cannot run the network: layer, channel, reason and remedy."""


class DeviceError(RuntimeError):
    """The device refused a packet, or gave an impossible answer.

    `fault` is the reason for a refusal, and None for an answer. The device skips the rest of that
    tape and can be used again at once.
    """

    def __init__(self, text: str, fault: Fault | None = None):
        super().__init__(text)
        self.fault = fault
