"""Files of other tools: every command says what they are and which way leads here."""

import gzip
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from quadfire.data.kinds import told
from quadfire.models.integer import IntegerNetwork, NetworkError
from quadfire.models.training.checkpoint import CheckpointError, load_checkpoint

from tests.command import quadfire

#: The first bytes of every HDF5 file, such as NIR's.
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(100)


def _pt(path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(3, 4)}, path)


def _old_pt(path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(3, 4)}, path, _use_new_zipfile_serialization=False)


def _picture(path: Path) -> None:
    with path.open("wb") as file:
        Image.new("L", (3, 3)).save(file, "png")


#: name of the file, what writes it, what it is said to be, and the way
FILES = [
    ("net.nir", lambda path: path.write_bytes(HDF5), "an HDF5 file", "quadfire import {}"),
    ("net.pt", _pt, "a file that torch.save wrote", "import FILE.py:FUNCTION --weights {}"),
    ("net.pth", _old_pt, "a pickle", "import FILE.py:FUNCTION --weights {}"),
    ("weights.safetensors", lambda path: save_file({"fc.weight": np.zeros((3, 4))}, path),
     "a state dict of tensors", "import FILE.py:FUNCTION --weights {}"),
    ("x.npy", lambda path: np.save(path, np.zeros(3)), "an array of numpy", "can be an input"),
    ("x.npz", lambda path: np.savez(path, x=np.zeros(3)), "an archive of arrays", "--data"),
    ("x.png", _picture, "a picture", "can be an input"),
    ("x.gz", lambda path: path.write_bytes(gzip.compress(b"1")), "packed by gzip", "unpack"),
    ("x.json", lambda path: path.write_text(' {"lanes": 8}'), "a JSON text", "--config"),
    ("a.aedat", lambda path: path.write_bytes(b"#!AER-DAT2.0\r\n"), "a recording", "--data"),
]


@pytest.fixture(params=FILES, ids=lambda entry: entry[0])
def file(request, tmp_path):
    """(path, what it is, the way) of a file of another tool."""
    name, write, what, way = request.param
    path = tmp_path / name
    write(path)
    return path, what, way.format(path)


@pytest.mark.fast
def test_what_it_is(file):
    path, what, way = file
    assert told(path).startswith(f": it is {what}") and way in told(path)
    other = path.with_name("renamed")       # its content tells, not its name
    path.rename(other)
    assert f"it is {what}" in told(other)


@pytest.mark.fast
def test_python_says_it_too(file):
    path, what, way = file
    for read, error in ((IntegerNetwork.load, NetworkError), (load_checkpoint, CheckpointError)):
        with pytest.raises(error) as caught:
            read(path)
        assert what in str(caught.value) and way in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("words", [
    ("quantize", "{}", "--epochs", 0), ("report", "{}"), ("evaluate", "{}"), ("show", "{}"),
    ("compile", "{}"), ("header", "{}"), ("simulate", "{}", "x.npy"), ("compare", "{}", "x.npy"),
    ("estimate", "{}"), ("sweep", "{}"), ("run", "{}", "x.npy"), ("load", "{}"),
    ("throughput", "{}")], ids=lambda words: words[0])
def test_every_command_that_takes_a_network(tmp_path, words):
    for name, write, what, way in FILES[:4]:
        path = tmp_path / name
        write(path)
        done = quadfire(*(str(word).format(path) for word in words))
        text = " ".join(done.err.split())
        assert done.status == 2 and what in text and way.format(path) in text, done.text
        assert len(done.err.splitlines()) == 1


def test_in_place_of_inputs(tmp_path):
    net = tmp_path / "net.safetensors"
    assert quadfire("untrained", "5", "--shape", 1, 3, 3, "--classes", 5, "--out", net).status == 0
    for name, write, what, way in FILES[:4]:
        path = tmp_path / name
        write(path)
        for some in (path, path.with_suffix(".npy")):
            some.write_bytes(path.read_bytes())
            done = quadfire("simulate", net, some)
            assert done.status == 2 and what in done.err and way.format(some) in done.err, done.text


@pytest.mark.fast
@pytest.mark.parametrize("raw", [
    b"", b"\x80", b"PK\x03\x04", b"PK\x03\x04" + bytes(40), b"\xff" * 40, bytes(8) + b"{}",
    (1 << 62).to_bytes(8, "little") + b"{", (9).to_bytes(8, "little") + b"{" * 9,
    (100_000).to_bytes(8, "little") + b"[" * 5 + b"{" * 100_000,
    (50_001).to_bytes(8, "little") + b'{"a":' * 10_000 + b"0", b"text",
    (2).to_bytes(8, "little") + b"{}"[:1]])
def test_what_is_not_known(tmp_path, raw):
    path = tmp_path / "file"
    path.write_bytes(raw)
    assert told(path) == "" or raw[8:] == b"{}"
    assert told(tmp_path / "absent") == "" == told(tmp_path)


@pytest.mark.fast
def test_a_file_of_ours_is_not_foreign(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file({"x": np.zeros(3)}, path, metadata={"quadfire": "{}"})
    assert told(path) == ""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "")
    path.write_bytes(buffer.getvalue())
    assert "a zip file" in told(path)
    path.write_bytes(pickle.dumps({}))
    assert "a pickle" in told(path)
