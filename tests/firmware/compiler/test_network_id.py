"""The id of a network: pinned, and moved by every value that it should depend on."""

import hashlib
import json
from dataclasses import dataclass, fields, is_dataclass, make_dataclass, replace

import numpy as np
import pytest

from quadfire.firmware.compiler.compile import compile_network
from quadfire.firmware.compiler.network_id import canonical_json, document_id
from quadfire.models.integer import IntegerNetwork, dense
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.numerics import Neuron

pytestmark = pytest.mark.fast

#: An array of the tests' own: its id does not change with a preset.
CONFIG = ArrayConfig(banks=2, lanes=4, group_lanes=2, weight_rows=64, accumulator_bits=16, slots=8,
                     sources=9, line_words=0, spike_words=64, parameter_words=64, packet_words=128)


def program():
    """Five inputs, three neurons, two logits, in four time steps."""
    neuron = Neuron(square=True, soft=False, factor=0, theta=1024, lo=-2048, hi=2047, initial=0,
                    reset=-100, delta=0)

    def layer(name, outputs, inputs, source, neuron):
        weight = np.arange(outputs * inputs, dtype=np.int8).reshape(outputs, inputs) - 7
        return dense(name, weight, weight_bits=8, source=source, neuron=neuron,
                     shift=np.zeros(outputs, np.int8), bias=np.arange(outputs, dtype=np.int32))

    network = IntegerNetwork(
        input_shape=(5, 1, 1), steps=4, input_bits=0, state_bits=12, fraction_bits=10,
        layers=(layer("hidden", 3, 5, -1, neuron), layer("logits", 2, 3, 0, None)))
    return compile_network(network, CONFIG)


def test_no_network_has_the_id_of_none(monkeypatch):
    """0 means that no network is loaded."""
    class Zeros:
        def digest(self) -> bytes:
            return bytes(32)

    monkeypatch.setattr("quadfire.firmware.compiler.network_id.hashlib.sha256",
                        lambda text: Zeros())
    assert document_id({}) == 1


def test_a_small_network_keeps_its_id():
    """Whoever changes this number changes it for every network that a device holds.

    The hash of the configuration is the contract's affair, so another one stands in for it.
    """
    document = program().id_document()
    assert document["configuration"] == CONFIG.hash
    assert document_id({**document, "configuration": 1}) == 0xCAC3_5914
    assert program().network_id == document_id(document)


def changed(value):
    """Another value of the same kind."""
    if isinstance(value, np.ndarray):
        other = value.copy()
        other.ravel()[-1] ^= 1
        return other
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return int(value) + 1
    if value is None:
        return 0
    if isinstance(value, dict):
        return {**value, 99: (1, 2)}
    raise AssertionError(type(value))


def variants(value):
    """(where, value with one thing changed), for everything inside of a value."""
    if is_dataclass(value):
        for field in fields(value):
            for where, other in variants(getattr(value, field.name)):
                yield f"{type(value).__name__}.{field.name}{where}", replace(
                    value, **{field.name: other})
    elif isinstance(value, (tuple, list)):
        for index, item in enumerate(value):
            for where, other in variants(item):
                yield f"[{index}]{where}", type(value)([*value[:index], other, *value[index + 1:]])
        yield "[end]", type(value)(value[:-1]) if value else type(value)([1])
    else:
        yield "", changed(value)


def test_every_value_of_the_document_matters():
    document = program().id_document()
    seen = {document_id(document)}
    for name, value in document.items():
        for where, other in variants(value):
            found = document_id({**document, name: other})
            assert found not in seen, f"{name}{where}"
            seen.add(found)
    assert len(seen) > 100


def test_neither_order_nor_kinds_of_numbers_matter():
    document = program().id_document()
    assert document_id(dict(reversed(document.items()))) == document_id(document)
    first = document["passes"][0]
    numpy_pass = replace(first, rows=np.int64(first.rows), tile=np.uint8(first.tile),
                         dense=np.bool_(first.dense))
    assert document_id({**document, "passes": (numpy_pass, *document["passes"][1:])}) \
        == document_id(document)
    shuffled = make_dataclass("Other", [field.name for field in reversed(fields(first))])
    same = shuffled(**{field.name: getattr(first, field.name) for field in fields(first)})
    assert canonical_json({"pass": same}) == canonical_json({"pass": first})


def test_the_document_is_plain_json():
    @dataclass
    class Pair:
        second: object
        first: object

    array = np.array([[1, 258]], np.uint16)
    text = canonical_json({"b": Pair(None, (True, np.int8(-3))), "a": {2: "ü", 1: array}})
    assert text.isascii() and " " not in text
    digest = hashlib.sha256(bytes([1, 0, 2, 1])).hexdigest()
    assert json.loads(text) == {
        "a": [[1, {"dtype": "u2", "shape": [1, 2], "sha256": digest}], [2, "ü"]],
        "b": {"first": [True, -3], "second": None}}
    assert text.index('"a"') < text.index('"b"') < text.index('"first"') < text.index('"second"')


def test_arrays_count_by_their_values():
    """Not by byte order or by how they lie in memory, but by type and shape."""
    array = np.arange(6, dtype=np.uint32).reshape(2, 3)
    same = [array.astype(">u4"), np.asfortranarray(array), array[::-1][::-1]]
    assert {canonical_json({"x": one}) for one in same} == {canonical_json({"x": array})}
    others = [array.astype(np.int32), array.reshape(3, 2), array + 1]
    assert len({canonical_json({"x": one}) for one in [array, *others]}) == 4


@pytest.mark.parametrize("value", [1.5, np.float32(1), b"bytes", {1, 2}, int])
def test_other_values_are_refused(value):
    with pytest.raises(TypeError, match="no place in a network's id"):
        document_id({"x": value})
