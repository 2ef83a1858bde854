"""Netlists that are made for nextpnr, changed so that yosys reads them the same way."""

__all__ = ["for_yosys"]


def for_yosys(document: dict, top: str, carry: str = "1") -> dict:
    """Change a document for yosys, in place, and return it.

    "x" means open to nextpnr. Such an output is left out; such a carry in becomes `carry`.
    """
    for cell in document["modules"][top]["cells"].values():
        for port, bits in cell["connections"].items():
            if bits == ["x"] and cell["port_directions"][port] == "output":
                cell["connections"][port] = []
            elif bits == ["x"] and (cell["type"], port) == ("CCU2C", "CIN"):
                cell["connections"][port] = [carry]
    return document
