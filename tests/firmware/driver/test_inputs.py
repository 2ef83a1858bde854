"""Inputs from files: right values, or one clear line for what is wrong, damaged or hostile."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from quadfire.firmware.driver import inputs as module
from quadfire.firmware.driver.inputs import checked, read_inputs
from quadfire.rtl.contract.config import preset

from tests.firmware.networks import random_network

pytestmark = pytest.mark.fast


def network(size: int = 64, bits: int = 8):
    return random_network(np.random.default_rng(0), preset("tiny"), (size, 3), steps=2,
                          input_bits=bits)


def refused(path, match: str, bits: int = 8) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        read_inputs([path], network(bits=bits))
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def header(shape: str) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": (1,)})
    data = file.getvalue()
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return data[:10] + text.ljust(len(data) - 11) + b"\n"


# Arrays ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays_are_read(tmp_path, suffix, order):
    values = np.asarray(np.arange(128, dtype=np.int32).reshape(2, 64), order=order)
    path = tmp_path / f"inputs.{suffix}"
    np.save(path, values) if suffix == "npy" else np.savez_compressed(path, values)
    assert np.array_equal(read_inputs([path], network()), values)


def test_a_header_that_announces_more_than_the_file_holds(tmp_path):
    path = tmp_path / "huge.npy"
    path.write_bytes(header("(11, 1099511627776)") + bytes(100))
    refused(path, "its header announces 11 TiB, but it holds 100 bytes")
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("x.npy", header("(11, 1099511627776)") + bytes(100))
    refused(tmp_path / "huge.npz", "announces 11 TiB")


def test_an_archive_that_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 1 << 20)
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, np.zeros(2 << 20, np.uint8))
    assert path.stat().st_size < 1 << 14
    refused(path, "x?arr_0.npy unpacks to 2 MiB, more than 1 MiB")


@pytest.mark.parametrize("data", [
    b"", b"not an array", header("(-1,)"), header("(3, 'x')"), header("(1,)")[:40],
    b"\x93NUMPY\x09\x00" + bytes(100), b"PK\x03\x04" + bytes(60)])
def test_what_is_no_array(tmp_path, data):
    path = tmp_path / "broken.npy"
    path.write_bytes(data)
    refused(path, "not an .npy or .npz file of plain numbers")


def test_objects_and_damaged_archives(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}, None]), allow_pickle=True)
    refused(tmp_path / "objects.npy", "plain numbers")
    np.savez(tmp_path / "broken.npz", np.arange(100))
    data = bytearray((tmp_path / "broken.npz").read_bytes())
    data[200] ^= 1
    (tmp_path / "broken.npz").write_bytes(data)
    refused(tmp_path / "broken.npz", "plain numbers")
    zipfile.ZipFile(tmp_path / "empty.npz", "w").close()
    refused(tmp_path / "empty.npz", "plain numbers")


# Pictures ----------------------------------------------------------------------------------------

def picture(tmp_path, pixels: np.ndarray):
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("bits", [8, 4, 1])
def test_pictures_of_8_and_16_bits_are_scaled(tmp_path, bits):
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    expected = pixels.reshape(1, -1) >> (8 - bits)
    assert np.array_equal(read_inputs([picture(tmp_path, pixels)], network(bits=bits)), expected)
    wide = pixels.astype(np.uint16) * 257
    with Image.open(picture(tmp_path, wide)) as image:
        assert image.mode.startswith("I")
    assert np.array_equal(read_inputs([picture(tmp_path, wide)], network(bits=bits)), expected)


def test_pictures_of_other_numbers_are_refused(tmp_path):
    Image.fromarray(np.full((8, 8), 70000, np.int32)).save(tmp_path / "wide.tiff")
    refused(tmp_path / "wide.tiff", "more than 16 bits")
    Image.fromarray(np.ones((8, 8), np.float32)).save(tmp_path / "float.tiff")
    refused(tmp_path / "float.tiff", "floating-point")


def test_a_picture_of_another_size_is_not_unpacked(tmp_path):
    refused(picture(tmp_path, np.zeros((9, 8), np.uint8)), "is 8 x 9, but the network takes 8 x 8")
    for side in (12_000, 60_000):           # Pillow warns of the first, refuses the second
        path = tmp_path / f"{side}.png"
        path.write_bytes(png_header(side))
        refused(path, "far larger than 64 pixels")


def png_header(side: int) -> bytes:
    """A grey PNG that announces side x side pixels, and holds none."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(
            ">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(
        b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_damaged_pictures_are_refused(tmp_path):
    path = picture(tmp_path, np.random.default_rng(0).integers(0, 255, (8, 8), np.uint8))
    data = path.read_bytes()
    for end in (20, 45, 60):
        path.write_bytes(data[:end])
        with pytest.raises((ValueError, OSError)) as caught:
            read_inputs([path], network())
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nothing.npy", "nothing.png"])
def test_a_file_that_is_not_there(tmp_path, name):
    refused(tmp_path / name, f"{name}: there is no such file$")


def test_what_is_neither_array_nor_picture(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a picture")
    refused(path, "notes.txt: inputs are .npy, .npz or a picture$")
    refused(tmp_path, "inputs are .npy, .npz or a picture, not a folder$")


# Shapes ------------------------------------------------------------------------------------------

def test_a_vector_may_be_a_map_of_one_pixel():
    net, values = network(), np.arange(128, dtype=np.uint8).reshape(2, 64)
    assert np.array_equal(checked(net, values.reshape(2, 64, 1, 1)).reshape(2, 64), values)
    spikes = np.zeros((2, 5, 64, 1, 1), bool)
    assert checked(network(bits=0), spikes).shape == spikes.shape
    with pytest.raises(ValueError, match=r"shape \[N, 64\] \(pixels\), not \[2, 1, 64, 1\]"):
        checked(net, values.reshape(2, 1, 64, 1))


@pytest.mark.parametrize(("bits", "hint"), [
    (8, r"pixels are 0\.\.255"), (4, r"pixels are 0\.\.15"), (0, "spikes are 0 or 1")])
def test_floating_point_numbers_are_refused(bits, hint):
    with pytest.raises(ValueError, match=f"must be integers or bool, not float32: {hint} as integ"):
        checked(network(bits=bits), np.zeros((2, 64), np.float32))
