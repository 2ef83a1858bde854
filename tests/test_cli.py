"""The command `quadfire`: its table of verbs is true, and help and errors come at once."""

import inspect
import json
import subprocess
import sys

import pytest

import quadfire as package
from quadfire.cli import VERBS
from quadfire.rtl.contract.config import LIMITS, PRESETS

from tests.command import quadfire

pytestmark = pytest.mark.fast

#: What takes a second or more to load: no help and no wrong argument may wait for it.
HEAVY = ("torch", "amaranth", "matplotlib", "cocotb", "sklearn", "PIL")


def test_every_verb_has_a_function_that_says_what_it_does():
    assert len({verb.name for verb in VERBS}) == len(VERBS)
    for verb in VERBS:
        function = verb.load()
        assert inspect.getdoc(function), verb.name
        assert len(verb.summary) <= 60 and verb.summary[-1] in ".?", verb.name
        assert quadfire(verb.name, "--help").status == 0


def test_help_lists_every_verb_and_its_sections():
    text = quadfire("--help").out
    assert all(f" {verb.name} " in text and verb.section in text for verb in VERBS)


#: Runs the command line with each list of words, one after the other; says what it had to load.
_LOADED = f"""
import contextlib, io, json, sys
from quadfire.cli import main
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main(words)
        except SystemExit as ended:
            status = ended.code
    print(status, [name for name in {HEAVY} if name in sys.modules], *words)
"""


@pytest.mark.parametrize(("status", "commands"), [
    (0, [["--help"], ["--version"], *([verb.name, "--help"] for verb in VERBS)]),
    (2, [["verilog", "--config", "nothing"], ["bitstream", "--seed", "0"],
         ["estimate", "net.safetensors", "--set", "lanes=many"], ["train", "--epochs", "many"],
         ["compile", "nothing.safetensors", "-c", "nothing"], ["demo", "-c", "nothing"],
         ["bench", "--seeds", "0"], ["simulate", "nothing.safetensors", "x.npy", "-o", "y.txt"]])])
def test_help_and_wrong_arguments_load_nothing_heavy(status, commands):
    done = subprocess.run([sys.executable, "-c", _LOADED, json.dumps(commands)], text=True,
                          capture_output=True, check=False)
    assert done.stdout.splitlines() == [f"{status} [] {' '.join(words)}" for words in commands]


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "amaranth", None)
    for name in [name for name in sys.modules if name.startswith("quadfire.rtl.")]:
        monkeypatch.delitem(sys.modules, name)
    done = quadfire("verilog", "-c", "tiny", "-o", "/nonexistent/folder")
    assert done.status == 2 and "pip install 'quadfire[hdl]'" in done.err


def test_an_error_of_ours_has_a_traceback_on_demand(monkeypatch):
    assert "Traceback" not in quadfire("verilog", "-c", "nothing").err
    monkeypatch.setenv("QUADFIRE_TRACEBACK", "1")
    assert "Traceback" in quadfire("verilog", "-c", "nothing").err


def test_configs_fits_80_columns_and_tells_every_field():
    done = quadfire("configs")
    assert done.status == 0 and max(map(len, done.out.splitlines())) <= 80
    words = done.out.split()
    assert all(name in words for name in (*PRESETS, *LIMITS))
    done = quadfire("configs", "default", "wide")
    assert done.status == 0 and max(map(len, done.out.splitlines())) <= 80
    assert "576" in done.out and f"{PRESETS['wide'].hash:08x}" in done.out


def test_public_names_are_there():
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018
