"""A flat netlist, as yosys' `write_json` makes it, with drivers and sinks of its nets."""

from collections import defaultdict

__all__ = ["Bit", "Netlist"]

#: A net by number, or a constant: "0", "1", "x".
Bit = int | str


class Netlist:
    """One module of a netlist. All changes are made in the document itself.

    | attribute | meaning |
    |---|---|
    | cells | name -> cell, as in the document |
    | driver | net -> (cell, port) that drives it |
    | sinks | net -> (cell, port, index of the bit) of every pin that reads it |

    The cell of a port of the module is "".
    """

    def __init__(self, document: dict, top: str):
        module = document["modules"][top]
        self.cells: dict[str, dict] = module["cells"]
        self.driver: dict[int, tuple[str, str]] = {}
        self.sinks: dict[int, set[tuple[str, str, int]]] = defaultdict(set)
        for name, port in module["ports"].items():
            if port["direction"] != "input":
                for index, bit in enumerate(port["bits"]):
                    self._attach("", name, index, bit)
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                for index, bit in enumerate(bits):
                    self._attach(name, port, index, bit)

    def _is_output(self, name: str, port: str) -> bool:
        return bool(name) and self.cells[name]["port_directions"][port] == "output"

    def _attach(self, name: str, port: str, index: int, bit: Bit) -> None:
        if isinstance(bit, str):
            return
        if self._is_output(name, port):
            self.driver[bit] = (name, port)
        else:
            self.sinks[bit].add((name, port, index))

    def _detach(self, name: str, port: str, index: int, bit: Bit) -> None:
        if isinstance(bit, str):
            return
        if not self._is_output(name, port):
            self.sinks[bit].discard((name, port, index))
        elif self.driver.get(bit) == (name, port):
            del self.driver[bit]

    def of_type(self, kind: str) -> list[str]:
        """Names of all cells of a type."""
        return [name for name, cell in self.cells.items() if cell["type"] == kind]

    def sinks_of(self, bit: Bit) -> set[tuple[str, str, int]]:
        """Pins that read a net. A constant has none."""
        return self.sinks.get(bit, set()) if isinstance(bit, int) else set()

    def bit(self, name: str, port: str) -> Bit:
        """What is connected to a port of one bit; "x" for an open one."""
        return self.cells[name]["connections"].get(port, ["x"])[0]

    def connect(self, name: str, port: str, bit: Bit) -> None:
        """Connect a port of one bit to `bit`. A port that is new to the cell is an input."""
        cell = self.cells[name]
        cell["port_directions"].setdefault(port, "input")
        if port in cell["connections"]:
            self._detach(name, port, 0, self.bit(name, port))
        cell["connections"][port] = [bit]
        self._attach(name, port, 0, bit)

    def remove(self, name: str) -> None:
        """Remove a cell. Its nets stay."""
        for port, bits in self.cells[name]["connections"].items():
            for index, bit in enumerate(bits):
                self._detach(name, port, index, bit)
        del self.cells[name]
