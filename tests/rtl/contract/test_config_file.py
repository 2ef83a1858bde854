"""Configurations of files: what `--config` and `--set` take, and what they refuse."""

import json
from dataclasses import replace

import pytest

from quadfire.rtl.contract.config import PRESETS, preset
from quadfire.rtl.contract.config_file import known_configs, read_config

from tests.command import quadfire

pytestmark = pytest.mark.fast


def test_what_verilog_writes_is_a_configuration(tmp_path):
    """The same array from its own description, and one field changed."""
    done = quadfire("verilog", "-c", "tiny", "--set", "weight_rows=32", "-o", tmp_path)
    assert done.status == 0, done.text
    path = tmp_path / "quadfire.json"
    config = read_config(path)
    assert config == replace(preset("tiny"), weight_rows=32)
    assert read_config(str(path), ["weight_rows = 64"]) == preset("tiny")
    again = tmp_path / "again"
    assert quadfire("verilog", "-c", path, "-o", again).status == 0
    assert (again / "quadfire.v").read_bytes() == (tmp_path / "quadfire.v").read_bytes()
    assert (str(path), config) in known_configs(tmp_path)
    assert (str(path), config) in known_configs(tmp_path.parent)


def test_a_file_of_fields_alone(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"lanes": 16, "weight_bits": 4}')
    assert read_config(path) == replace(preset("default"), lanes=16, weight_bits=4)
    assert dict(known_configs(tmp_path)) == PRESETS      # its name does not say what it is


@pytest.mark.parametrize(("text", "message"), [
    ("[1, 2]", "expected an object of configuration fields"),
    ("{", "this is no JSON"), ("[" * 100_000, "this is no JSON"), ("\xff", "this is no JSON"),
    ('{"lanes": 16, "lanes": 32}', "'lanes' stands in it twice"),
    ('{"lane": 4}', "unknown configuration field 'lane'"),
    ('{"lanes": "4"}', "lanes .* must be an integer in 1..128, not '4'"),
    ('{"lanes": true}', "must be an integer"), ('{"lanes": 3}', "must be a power of two"),
    ('{"configuration": {"lanes": 1e300}}', "must be an integer"),
    (" " * (1 << 21), "larger than 1 MiB")])
def test_files_that_hold_no_configuration(tmp_path, text, message):
    path = tmp_path / "mine.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=message) as error:
        read_config(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "changes", "message"), [
    ("nothing", [], "no configuration is called 'nothing'; there are tiny, .* or name a .json"),
    ("nothing.json", [], "nothing.json: there is no such file"),
    ("tiny", ["lane=4"], "there is no field 'lane'; there are banks, lanes"),
    ("tiny", ["lanes"], "--set takes field=number, not 'lanes'"),
    ("tiny", ["lanes=-4"], "--set takes field=number"), ("tiny", ["lanes=4.0"], "field=number"),
    ("tiny", ["lanes=４"], "field=number"), ("tiny", ["lanes=" + 5000 * "9"], "field=number"),
    ("tiny", ["lanes=4", "lanes=8"], "lanes is set twice"),
    ("tiny", ["lanes=6"], "lanes must be a power of two, not 6")])
def test_names_and_changes_that_cannot_be(name, changes, message):
    with pytest.raises(ValueError, match=message):
        read_config(name, changes)


def test_a_folder_is_no_configuration(tmp_path):
    with pytest.raises(ValueError) as error:
        read_config(tmp_path)
    assert str(error.value) == f"{tmp_path} is a folder: name a preset or a .json file"
    (tmp_path / "quadfire.json").write_text("{}")
    with pytest.raises(ValueError) as error:
        read_config(tmp_path)
    assert str(error.value) == f"{tmp_path} is a folder: did you mean {tmp_path}/quadfire.json?"


def test_every_verb_takes_a_file_and_changes(tmp_path):
    """From the fields of a file to cycles, a tape, and an answer of the simulated device."""
    path = tmp_path / "mine.json"
    fields = preset("tiny").as_dict() | {"weight_rows": 128}
    path.write_text(json.dumps(fields))
    shape = read_config(path)
    done = quadfire("info", "--device", "sim", "-c", path)
    assert done.status == 0 and f"{shape.hash:#010x}" in done.out
    changed = replace(shape, parameter_words=128)
    done = quadfire("info", "-c", path, "--set", "parameter_words=128")
    assert done.status == 0 and f"{changed.hash:#010x}" in done.out


def test_a_device_of_any_configuration_is_recognised(tmp_path, monkeypatch):
    """A board of no preset, by the quadfire.json that was written with its Verilog."""
    from quadfire.sim.verilator.uart import UartServer

    monkeypatch.chdir(tmp_path)
    shape = replace(preset("tiny"), weight_rows=128)
    with UartServer(shape) as server:
        device = f"serial:{server.path}:{server.baud}"
        done = quadfire("info", "--device", device)
        assert done.status == 2 and f"{shape.hash:#010x}, which is no preset's" in done.err
        assert quadfire("verilog", "-c", "tiny", "--set", "weight_rows=128").status == 0
        done = quadfire("info", "--device", device)
        assert done.status == 0 and str(shape) in " ".join(done.out.split())
