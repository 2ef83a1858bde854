"""The id of a compiled network: 32 bits over a canonical document, the same on every machine.

The document is JSON: keys sorted, no spaces, ASCII only. Values become JSON like this:

| value | in the document |
|---|---|
| dataclass | object of its fields by name |
| tuple, list | array |
| dict | array of [key, value], sorted by the JSON of the key |
| numpy array | {"dtype", "shape", "sha256" of its bytes: C order, little-endian} |
| integers and bool, numpy's too | number, true, false |
| str, None | string, null |

Anything else, floating point included, raises TypeError. The id is the first four bytes of the
document's SHA-256, big-endian; 0 stands for "no network", so 1 takes its place.
"""

import hashlib
import json
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

__all__ = ["canonical_json", "document_id"]


def _plain(value: Any) -> Any:
    """The value as the JSON module takes it, see the module."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        pairs = [[_plain(key), _plain(item)] for key, item in value.items()]
        return sorted(pairs, key=lambda pair: _text(pair[0]))
    if isinstance(value, np.ndarray):
        little = value.astype(value.dtype.newbyteorder("<"), order="C")
        return {"dtype": value.dtype.kind + str(value.dtype.itemsize), "shape": [*value.shape],
                "sha256": hashlib.sha256(little.tobytes()).hexdigest()}
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"{type(value).__name__} has no place in a network's id")


def _text(plain: Any) -> str:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def canonical_json(document: dict[str, Any]) -> str:
    """The document of named values as canonical JSON."""
    return _text({name: _plain(value) for name, value in document.items()})


def document_id(document: dict[str, Any]) -> int:
    """The 32-bit id of a document of named values, never 0."""
    digest = hashlib.sha256(canonical_json(document).encode("ascii")).digest()
    return int.from_bytes(digest[:4], "big") or 1
