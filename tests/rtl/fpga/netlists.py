"""Netlists as nextpnr reads them, for yosys."""

__all__ = ["for_yosys"]


def for_yosys(document: dict, top: str, carry: str = "1") -> dict:
    """The document, changed: what is open at an output, x to nextpnr, is nothing to yosys; an open
    carry in is `carry`."""
    for cell in document["modules"][top]["cells"].values():
        for port, bits in cell["connections"].items():
            if bits == ["x"] and cell["port_directions"][port] == "output":
                cell["connections"][port] = []
            elif bits == ["x"] and (cell["type"], port) == ("CCU2C", "CIN"):
                cell["connections"][port] = [carry]
    return document
