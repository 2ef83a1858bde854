"""Golden vectors: what goes into a block, and what must come out of it.

`quadfire.sim.cocotb.testbench_block` plays them. They are plain JSON, which `channel` and `vectors`
make:

    {"clock": "clk", "reset": "rst",
     "constants": {"factor": 3},
     "inputs":  [{"name": "i", "valid": "i_valid", "ready": "i_ready", "payload": ["i_payload"],
                  "transactions": [{"i_payload": 5}, ...],
                  "period": 1, "gaps": null, "exact": false, "after": null}],
     "outputs": [{"name": "o", "valid": "o_valid", "ready": "o_ready", "payload": ["o_payload"],
                  "transactions": [{"o_payload": 8}, ...], "latency": null}],
     "timeout": null}

A channel without `ready` is a strobe: it transfers its payload in every cycle in which `valid` is
high. Values are signed or unsigned, and compared modulo the width of their port.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from quadfire.files import write_text

__all__ = ["channel", "read", "vectors", "write"]


def channel(name: str, transactions: Sequence[Mapping[str, int] | int], *, valid: str | None = None,
            ready: str | None = None, payload: Sequence[str] | None = None, last: str | None = None,
            period: int = 1, gaps: Sequence[int] | None = None, exact: bool = False,
            after: str | None = None, latency: int | None = None) -> dict:
    """One input or output channel.

    | argument | meaning |
    |---|---|
    | `transactions` | {port: value}, or the value alone where there is one payload port |
    | `valid`, `payload` | names of the ports; by default those of an Amaranth stream `name` |
    | `ready` | name of the port, None for a strobe |
    | `last` | a payload port that is 1 in the final transaction alone |
    | `period` | of an input: least number of cycles from one transaction to the next |
    | `gaps` | of an input: least number of cycles without a transaction before each of them |
    | `exact` | of an input: no random idle cycles beside period and gaps |
    | `after` | of an input: name of an input that must be played to its end before |
    | `latency` | of an output: cycles from transaction k of the first input to its own |

    The latency is checked where there is no backpressure. Raises ValueError if a transaction does
    not have exactly the ports of the payload.
    """
    valid = f"{name}__valid" if valid is None else valid
    payload = [f"{name}__payload"] if payload is None else list(payload)
    rows = [dict(t) if isinstance(t, Mapping) else {payload[0]: int(t)} for t in transactions]
    if last is not None:
        payload.append(last)
        for index, row in enumerate(rows):
            row[last] = int(index == len(rows) - 1)
    for index, row in enumerate(rows):
        if set(row) != set(payload):
            raise ValueError(f"transaction {index} of channel {name!r} must give a value to each "
                             f"of {', '.join(payload)}, not to {', '.join(row) or 'none'}")
    if period < 1:
        raise ValueError(f"period must be at least 1, not {period!r}")
    if gaps is not None and len(gaps) != len(rows):
        raise ValueError(f"gaps must be as many as transactions, {len(rows)}, not {len(gaps)}")
    return {"name": name, "valid": valid, "ready": ready, "payload": payload,
            "transactions": [{port: int(value) for port, value in row.items()} for row in rows],
            "period": period, "gaps": None if gaps is None else [int(gap) for gap in gaps],
            "exact": exact, "after": after, "latency": latency}


def vectors(inputs: Sequence[dict], outputs: Sequence[dict], *,
            constants: Mapping[str, int] | None = None, clock: str = "clk",
            reset: str | None = "rst", timeout: int | None = None) -> dict:
    """A set of vectors.

    | argument | meaning |
    |---|---|
    | `constants` | {port: the value that it holds} |
    | `reset` | name of the port, None where there is none |
    | `timeout` | in cycles; None makes it generous |

    Raises ValueError if no output transaction is expected: such a test bench could not fail.
    """
    if not any(output["transactions"] for output in outputs):
        raise ValueError("vectors must expect at least one output transaction")
    names = [item["name"] for item in inputs]
    for item in inputs:
        if item["after"] is not None and item["after"] not in names:
            raise ValueError(f"channel {item['name']!r} must come after one of "
                             f"{', '.join(names)}, not {item['after']!r}")
    return {"clock": clock, "reset": reset, "constants": dict(constants or {}),
            "inputs": list(inputs), "outputs": list(outputs), "timeout": timeout}


def write(path: Path | str, content: dict) -> Path:
    """Write vectors to a JSON file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content) + "\n")
    return path


def read(path: Path | str) -> dict:
    """Read vectors from a JSON file."""
    return json.loads(Path(path).read_text())
