"""A device's driver by name: `connect("serial:/dev/ttyUSB0")`."""

from quadfire.firmware.driver.accelerator import Accelerator
from quadfire.firmware.tape.packets import encode, unpack
from quadfire.firmware.transports import kind_of, open_device
from quadfire.firmware.transports.transport import Transport
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.config_file import known_configs
from quadfire.rtl.contract.tape import INFO_WORDS, Answer, Opcode

__all__ = ["config_of", "connect"]

#: How often a tape is played again on a real device.
RETRIES = 3


def config_of(transport: Transport) -> ArrayConfig:
    """The configuration that a device was made from.

    The transport may know it: the AXI shell has a register for every field. Otherwise the device
    answers with the hash, and a preset or a quadfire*.json under build/ must have that hash. Raises
    ValueError if none has.
    """
    if transport.config is not None:
        return transport.config
    words = transport.exchange([encode(Opcode.INFO, 0)], 1)
    while int(words[0][0]) >> 24 != Answer.INFO:
        words = transport.exchange([], 1)
    found = unpack(dict.fromkeys(INFO_WORDS, 32), words[0][1:-1])["configuration"]
    for _, config in known_configs():
        if config.hash == found:
            return config
    raise ValueError(f"the device has configuration {found:#010x}, which is no preset's and none "
                     "of those in build/: name the quadfire.json that was written with its "
                     "Verilog (--config FILE)")


def connect(name: str, config: ArrayConfig | None = None, *, batch: int = 64) -> Accelerator:
    """The driver of the device called `name`, as `quadfire devices` lists them.

    config: what a simulated device is made from, or what a real one must be. None takes a real
    device as it is. Raises ValueError, OSError or TimeoutError if it cannot be opened.
    """
    real = kind_of(name)[0].real
    transport = open_device(name, config)
    try:
        return Accelerator(transport, config or config_of(transport), batch=batch,
                           retries=RETRIES if real else 0)
    except BaseException:
        transport.close()
        raise
