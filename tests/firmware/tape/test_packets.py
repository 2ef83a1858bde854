"""Packets: what is encoded is decoded, damage is found, fields keep to their bits."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quadfire.firmware.tape.packets import PacketError, crc32, decode, encode, pack, split, unpack
from quadfire.rtl.contract.tape import HEADER, PASS, PASS_WORDS, TARGET, Answer, Opcode

pytestmark = pytest.mark.fast

OPCODES = st.sampled_from([*Opcode, *Answer])
WORDS = st.lists(st.integers(0, 0xFFFFFFFF), max_size=40)


@given(OPCODES, st.integers(0, 1000), WORDS)
def test_roundtrip(opcode, sequence, payload):
    packet = decode(encode(opcode, sequence, payload))
    assert packet.opcode is opcode and packet.sequence == sequence % 256
    assert packet.payload.tolist() == payload and packet.payload.dtype == np.uint32


def test_known_packet():
    words = encode(Opcode.BEGIN, 7, [0x11223344, 5])
    assert words[:-1].tolist() == [0x01070002, 0x11223344, 5]
    data = bytes([2, 0, 7, 1, 0x44, 0x33, 0x22, 0x11, 5, 0, 0, 0])
    assert int(words[-1]) == zlib.crc32(data) == crc32(words[:-1])


@given(OPCODES, WORDS, st.data())
def test_every_flipped_bit_is_found(opcode, payload, data):
    words = encode(opcode, 3, payload)
    words[data.draw(st.integers(0, len(words) - 1))] ^= 1 << data.draw(st.integers(0, 31))
    with pytest.raises(PacketError):
        decode(words)


@pytest.mark.parametrize("words, match", [
    ([], "at least 2"), ([1], "at least 2"), ([2, 0], "announces 2 words of payload, but 0"),
    (encode(Opcode.REPORT, 0)[:1].tolist() + [0], "checksum"),
    ([0x7F000000, zlib.crc32(bytes([0, 0, 0, 0x7F]))], "no opcode 0x7f"),
])
def test_what_is_no_packet_is_refused(words, match):
    with pytest.raises(PacketError, match=match):
        decode(np.array(words, np.uint32))


@pytest.mark.parametrize("table", [HEADER, TARGET, PASS])
@given(data=st.data())
def test_fields_roundtrip(table, data):
    values = {name: data.draw(st.integers(0, (1 << bits) - 1)) for name, bits in table.items()}
    words = pack(table, **values)
    assert len(words) == sum(table.values()) // 32 and unpack(table, words) == values
    offset = 0
    for name, bits in table.items():
        word, at = divmod(offset, 32)
        assert int(words[word]) >> at & (1 << bits) - 1 == values[name], name
        offset += bits


def test_fields_are_checked():
    assert len(pack(PASS)) == PASS_WORDS
    for value in (-1, 256):
        with pytest.raises(PacketError, match=rf"bank must be in 0..255, not {value}"):
            pack(TARGET, bank=value)
    with pytest.raises(PacketError, match="no field 'bang'"):
        pack(TARGET, bang=1)


def test_split():
    packets = [encode(Opcode.REPORT, 1), encode(Opcode.SPIKES, 2, [1, 2, 3])]
    words = np.concatenate(packets)
    assert all(map(np.array_equal, split(words), packets))
    with pytest.raises(PacketError, match="the packet at word 2 ends at word 7"):
        split(words[:-1])
