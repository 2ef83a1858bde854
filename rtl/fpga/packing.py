"""Packing: what `synth_ecp5` of yosys leaves undone on an ECP5, done on its netlist.

No function of the netlist changes.

- yosys uses no output registers of block RAMs and no registers of multipliers, and leaves
  flip-flops beside them (`register_packing`). A block RAM then takes 5.8 ns to its output instead
  of 1 ns.
- yosys leaves LUTs in front of carry chains, and nextpnr adds cells at their ends
  (`carry_packing`).
"""

from dataclasses import asdict, dataclass

from quadfire.rtl.fpga.carry_packing import absorb, carry_chain, close_chain
from quadfire.rtl.fpga.netlist import Netlist
from quadfire.rtl.fpga.register_packing import pack_memory, pack_multiplier

__all__ = ["Packed", "pack"]


@dataclass
class Packed:
    """What was packed.

    | attribute | meaning |
    |---|---|
    | memory_ports, multipliers | how many of them have registers now |
    | registers, luts | how many flip-flops and LUTs went into other cells |
    | carries | how many CCU2Cs are saved at the ends of carry chains |
    """

    memory_ports: int = 0
    multipliers: int = 0
    registers: int = 0
    luts: int = 0
    carries: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{count} {name.replace('_', ' ')}"
                         for name, count in asdict(self).items())


def pack(document: dict, top: str) -> Packed:
    """Pack a netlist of `synth_ecp5`, in place."""
    netlist, packed = Netlist(document, top), Packed()
    for memory in netlist.of_type("DP16KD"):
        ports, registers = pack_memory(netlist, memory)
        packed.memory_ports += ports
        packed.registers += registers
    for multiplier in netlist.of_type("MULT18X18D"):
        if (registers := pack_multiplier(netlist, multiplier)) is not None:
            packed.multipliers += 1
            packed.registers += registers
    for carry in netlist.of_type("CCU2C"):
        packed.luts += sum(absorb(netlist, carry, half) for half in "01")
    for carry in netlist.of_type("CCU2C"):
        if netlist.bit(carry, "CIN") in ("0", "1"):
            packed.carries += close_chain(netlist, carry_chain(netlist, carry))
    return packed
