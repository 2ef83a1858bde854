"""Files are whole or not there."""

import contextlib
import errno
import functools
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from quadfire.files import whole_file, write_text
from quadfire.paths import PRETRAINED
from quadfire.rtl import verilog

from tests.command import quadfire

pytestmark = pytest.mark.fast


def test_a_file_becomes_what_was_written(tmp_path):
    path = tmp_path / "new" / "net.npy"
    with whole_file(path) as part:
        assert part.suffix == ".npy" and part.parent == path.parent
        part.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it"
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"),
                                   ValueError("no such network"), KeyboardInterrupt()])
def test_an_error_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "net.npy"
    path.write_text("before")
    with pytest.raises(type(error)) as raised, whole_file(path) as part:
        part.write_text("hal")
        raise error
    assert path.read_text() == "before" and [*tmp_path.iterdir()] == [path]
    if isinstance(error, OSError):
        assert str(path) in str(raised.value) and raised.value.errno == errno.ENOSPC


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder: name a file"), whole_file(tmp_path):
        pass


def test_a_link_leads_to_what_is_written(tmp_path):
    (tmp_path / "net").mkdir()
    link, real = tmp_path / "link.txt", tmp_path / "net" / "real.txt"
    link.symlink_to(real)
    write_text(link, "all of it")
    assert link.is_symlink() and real.read_text() == "all of it" and len([*tmp_path.iterdir()]) == 2


def test_a_pipe_and_a_device_are_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(pipe, "all of it")
        assert os.read(end, 99) == b"all of it" and not pipe.is_file()
    finally:
        os.close(end)
    write_text("/dev/null", "nothing is kept")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(OSError, match="/dev/full cannot be written: No space left on device"):
        write_text("/dev/full", "nothing fits")


# A disk that is full, with every command that writes a file --------------------------------------

NETWORK = PRETRAINED / "mnist5k-784-128-10-int8.safetensors"


@contextlib.contextmanager
def full_disk(left: int) -> Iterator[None]:
    """No file can be larger than `left` bytes: a write fails as it does on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("words", "file"), [
    (("registers", "--format", "c", "-o", "new/registers.h"), "new/registers.h"),
    (("compile", NETWORK, "-o", "new/net.tape"), "new/net.tape"),
    (("header", NETWORK, "-o", "new/net.h"), "new/net.h"),
    (("untrained", "3C3-5", "--shape", 1, 8, 8, "--classes", 5, "--out", "new/net.safetensors"),
     "new/net.safetensors"),
    (("train", "--dataset", "digits", "--hidden", 3, "--epochs", 1, "--out", "new/net.safetensors"),
     "new/net."),
    (("report", "--images", 3, "--out", "new/report.json"), "new/report.json"),
    (("sweep", NETWORK, "--set", "lanes=32", "-o", "new/sweep.png"), "new/sweep.png"),
], ids=lambda value: value[0] if isinstance(value, tuple) else "")
@pytest.mark.parametrize("before", [None, "what was there"])
def test_a_full_disk(tmp_path, monkeypatch, words, file, before):
    """One line that names the file, exit status 2, nothing written and nothing lost."""
    monkeypatch.chdir(tmp_path)
    kept = tmp_path / (file if Path(file).suffix else f"{file}safetensors")
    (tmp_path / "new").mkdir()
    if before:
        kept.write_text(before)
    with full_disk(40):
        done = quadfire(*words)
    assert done.status == 2 and "File too large" in done.err, done.text
    assert len(done.err.splitlines()) == 1 and file in done.err
    assert [*kept.parent.iterdir()] == ([kept] if before else [])
    assert before is None or kept.read_text() == before


def test_a_full_disk_leaves_no_empty_verilog(tmp_path, monkeypatch):
    """Neither where the Verilog is written, nor where yosys keeps its own files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verilog, "to_verilog", functools.cache(verilog.to_verilog))
    words = ("verilog", "-c", "tiny", "-o", "new")
    with full_disk(40):
        done = quadfire(*words)
    assert done.status == 2 and "yosys failed while it made Verilog: " in done.err, done.text
    assert len(done.err.splitlines()) == 1 and not [*(tmp_path / "new").iterdir()]
    assert quadfire(*words).status == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    assert {*before} == {"quadfire.v", "quadfire.json"}
    with full_disk(40):
        done = quadfire(*words)
    assert done.status == 2, done.text
    assert "new/quadfire.v cannot be written: File too large" in done.err
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == before


@pytest.mark.parametrize("words", [
    ("verilog", "-c", "tiny", "-o", "{}"), ("registers", "--format", "c", "-o", "{}/r.h"),
    ("compile", NETWORK, "-o", "{}/net.tape"), ("header", NETWORK, "-o", "{}/net.h"),
    ("quantize", "--epochs", 0, "--images", 1, "--out", "{}/net.safetensors"),
    ("report", "--images", 3, "--out", "{}/report.json"),
    ("sweep", NETWORK, "--set", "lanes=32", "-o", "{}/sweep.png")],
    ids=lambda words: words[0])
def test_a_folder_that_cannot_be_made(tmp_path, words):
    (tmp_path / "file").write_text("no folder")
    done = quadfire(*(str(word).format(tmp_path / "file" / "below") for word in words))
    assert done.status == 2 and done.err.count("error:") == 1, done.text
    assert str(tmp_path / "file") in done.err and "Not a directory" in done.err
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]
