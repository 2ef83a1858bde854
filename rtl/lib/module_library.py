"""Module library: components that stand many times in the array and once in the Verilog.

Amaranth elaborates every submodule anew. A `ModuleLibrary`, given as the platform, elaborates each
kind of component once, and `placed` then gives an instance of it. Without a library `placed`
changes nothing, and the design is one tree for Amaranth's own simulator.
"""

from typing import Any

from amaranth import *
from amaranth.back import rtlil
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

__all__ = ["ModuleLibrary", "PortDirection", "convert", "named_ports", "placed"]


def named_ports(component: wiring.Component) -> dict[str, tuple[Value, PortDirection]]:
    """Value and direction of every port by name. `__` joins the names of its path."""
    return {"__".join(map(str, path)): (Value.cast(value), PortDirection.Input
                                        if member.flow == wiring.In else PortDirection.Output)
            for path, member, value in component.signature.flatten(component)}


class ModuleLibrary:
    """A platform that collects the modules of a design as RTLIL text, by name.

    Every name starts with `prefix`.
    """

    def __init__(self, prefix: str):
        self.prefix = prefix
        self.modules: dict[str, str] = {}

    def instance(self, name: str, component: wiring.Component, reset: Value | None = None
                 ) -> Instance:
        """An instance of module `name`, which is made of `component` when first asked for."""
        name = f"{self.prefix}_{name}"
        if name not in self.modules:
            self.modules[name] = ""     # ahead of the modules inside, so that an error stands out
            self.modules[name] = rtlil.convert(component, name=name, platform=self, emit_src=False,
                                               ports=named_ports(component))
        ports = {f"{'i' if way is PortDirection.Input else 'o'}_{port}": value
                 for port, (value, way) in named_ports(component).items()}
        rst = ResetSignal() if reset is None else ResetSignal() | reset
        return Instance(name, i_clk=ClockSignal(), i_rst=rst, **ports)


def placed(platform, name: str, component: wiring.Component, reset: Value | None = None) -> Any:
    """`component`, or an instance of module `name` if `platform` is a `ModuleLibrary`.

    `reset` is a signal that resets it, too, synchronously.
    """
    if isinstance(platform, ModuleLibrary):
        return platform.instance(name, component, reset)
    return component if reset is None else ResetInserter(reset)(component)


def convert(component: Elaboratable, name: str, ports: dict) -> str:
    """RTLIL of a design and of all modules that it places."""
    library = ModuleLibrary(name)
    top = rtlil.convert(component, name=name, platform=library, ports=ports, emit_src=False)
    return "\n".join([*library.modules.values(), top])
