"""Recordings in the format AEDAT, versions 2.0 and 3.1.

A file of either begins with lines of text that start with '#'.

AEDAT 2.0: the first line is #!AER-DAT2.0. Events follow, each of two big-endian 32-bit numbers: an
address, and a time stamp in microseconds. What the bits of an address mean depends on the camera:

| | DVS128 | DAVIS346 |
|---|---|---|
| sensor, width x height | 128 x 128 | 346 x 260 |
| column | bits 7..1, from the right | bits 21..12, from the right |
| row | bits 14..8, from below | bits 30..22, from below |
| polarity | bit 0, clear for ON | bit 11, set for ON |
| no event of a pixel where | any of bits 31..15 is set | bit 31 or bit 10 is set |

A DVS128 of CIFAR10-DVS stood on its side, so every reader of that data set exchanges rows and
columns to turn its pictures upright; the columns of the table above are those of the sensor.

AEDAT 3.1, the format of DVS Gesture: the first line is #!AER-DAT3.1, the last #!END-HEADER. Packets
follow, little-endian, each with a head of 28 bytes:

| bytes | field |
|---|---|
| 2, 2 | type of its events, 1 for those of pixels; source |
| 4, 4, 4 | size of an event; where in it the time stamp stands; upper half of the time stamps |
| 4, 4, 4 | room for events, events in it, valid ones |

An event of a pixel has two 32-bit numbers: data, and the lower 31 bits of its time in microseconds.
Of data bit 0 is set where the event is valid, bit 1 for ON, bits 16..2 are the row and bits 31..17
the column, from the top left.
"""

import struct
from pathlib import Path

import numpy as np

from quadfire.data.events import Events, check_inside
from quadfire.data.files import read_bytes

__all__ = ["CAMERAS", "read_aedat2", "read_aedat3"]

#: Cameras whose addresses in AEDAT 2.0 are known, and (width, height) of their pictures.
CAMERAS = {"dvs128": (128, 128), "davis346": (346, 260)}

#: The last line of a header of AEDAT 2.0, in files that say where it ends, and of AEDAT 3.1.
_LAST_LINES = (b"#End Of ASCII Header", b"#!END-HEADER")

_HEAD = struct.Struct("<2h6i")
_OF_PIXELS = 1


def _header_size(raw: bytes) -> int:
    """Where the events begin. An address may begin with the byte '#' as well, a line is ASCII."""
    start = 0
    while raw[start:start + 1] == b"#":
        end = raw.find(b"\n", start) + 1 or len(raw)
        line = raw[start:end].rstrip()
        if not line.isascii() or any(byte < 32 and byte != 9 for byte in line):
            break
        start = end
        if line in _LAST_LINES:
            break
    return start


def _begin(path: Path, version: bytes, why: str) -> tuple[bytes, int]:
    """(bytes of a file, where its events begin). ValueError where it is of another version."""
    raw = read_bytes(path)
    if not raw.startswith(b"#!AER-DAT" + version):
        first = raw[:20].split(b"\n")[0].decode("ascii", "replace").strip()
        raise ValueError(f"{path}: begins with {first!r}, not with #!AER-DAT{version.decode()}: "
                         f"{why}")
    return raw, _header_size(raw)


def read_aedat2(path: Path, camera: str = "dvs128") -> Events:
    """The events of the pixels in an AEDAT 2.0 file; others, as of synchronisation, are dropped.

    camera: one of CAMERAS. Raises ValueError that names the file if it is of another format, if it
    is cut short, or if an event lies outside of the sensor.
    """
    if camera not in CAMERAS:
        raise ValueError(f"camera must be {' or '.join(CAMERAS)}, not {camera!r}")
    raw, start = _begin(path, b"2.0", "the files of CIFAR10-DVS are AEDAT 2.0")
    if (len(raw) - start) % 8:
        raise ValueError(f"{path}: {len(raw) - start} bytes are no number of events of 8 bytes")
    address, t = np.frombuffer(raw, ">u4", offset=start).reshape(-1, 2).astype(np.int64).T
    width, height = CAMERAS[camera]
    if camera == "dvs128":
        of_pixel = address < 1 << 15
        x, y, p = 127 - (address >> 8 & 127), 127 - (address >> 1 & 127), 1 - (address & 1)
    else:
        of_pixel = address & (1 << 31 | 1 << 10) == 0
        x = width - 1 - (address >> 12 & 1023)
        y, p = height - 1 - (address >> 22 & 511), address >> 11 & 1
    events = Events(*(values[of_pixel] for values in (t, x, y, p)))
    try:
        check_inside(events, width, height)
    except ValueError as error:
        raise ValueError(f"{path}: {error}: is it of another camera?") from None
    return events


def read_aedat3(path: Path) -> Events:
    """The valid events of the pixels in an AEDAT 3.1 file; packets of other kinds are skipped.

    Raises ValueError that names the file if it is of another format, damaged or cut short.
    """
    raw, at = _begin(path, b"3.1", "the files of DVS Gesture are AEDAT 3.1")
    data, times = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    while at < len(raw):
        if at + _HEAD.size > len(raw):
            raise ValueError(f"{path}: cut short within the head of a packet")
        kind, _, size, offset, overflow, room, count, valid = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        if not 0 < size <= 1 << 30 or not 0 <= valid <= count <= room or overflow < 0 \
                or kind == _OF_PIXELS and (size, offset) != (8, 4):
            raise ValueError(f"{path}: the packet whose events begin at byte {at} is damaged")
        if at + size * count > len(raw):
            raise ValueError(f"{path}: cut short, a packet has {count} events of {size} bytes and "
                             f"{len(raw) - at} bytes are left")
        if kind == _OF_PIXELS:
            words = np.frombuffer(raw, "<u4", 2 * count, at).reshape(-1, 2).astype(np.int64)
            words = words[words[:, 0] & 1 == 1]
            data.append(words[:, 0])
            times.append(words[:, 1] & 0x7FFFFFFF | overflow << 31)
        at += size * count
    every, t = np.concatenate(data), np.concatenate(times)
    return Events(t, every >> 17 & 0x7FFF, every >> 2 & 0x7FFF, every >> 1 & 1)
