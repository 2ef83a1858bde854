"""Words that rich takes for markup, in arguments, paths and names, are printed as they are."""

from dataclasses import replace

import numpy as np
import pytest
from rich.markup import MarkupError

from quadfire.arguments import PlainConsole
from quadfire.rtl.contract.config import preset

from tests.command import quadfire
from tests.firmware.networks import random_network

WORDS = ["[/x]", "[bold]a[/bold]", "[red]", "[link=x]"]

#: Commands that do not say what they have written.
SILENT = ("registers", "untrained", "simulate", "compare")

#: Every command with a word in every argument that it refuses.
REFUSED = [
    ("compile", "{}"), ("compile", "net", "-c", "{}"), ("compile", "net", "--set", "{}"),
    ("show", "{}"), ("evaluate", "{}"), ("evaluate", "net", "--data", "{}"), ("quantize", "{}"),
    ("quantize", "--device", "{}"), ("report", "{}"), ("train", "--dataset", "own", "--data", "{}"),
    ("train", "--dataset", "{}"), ("train", "--dataset", "digits", "--network", "{}"),
    ("train", "--device", "{}"), ("train", "--dataset", "digits", "--window", "{}"),
    ("train", "--sensor", "{}"), ("untrained", "{}"), ("verilog", "-c", "{}"),
    ("verilog", "--top", "{}"), ("registers", "--format", "{}"), ("bitstream", "{}"),
    ("configs", "{}"), ("header", "{}"), ("simulate", "{}", "x.npy"), ("run", "net", "{}"),
    ("run", "net", "--data", "{}"), ("run", "net", "x.npy", "-o", "{}"),
    ("run", "net", "x.npy", "--device", "{}"),
    ("run", "net", "x.npy", "--device", "serial:/dev/{}"),
    ("estimate", "{}"), ("sweep", "net", "--set", "{}"), ("info", "--device", "{}"),
    ("info", "--device", "serial:/dev/{}"), ("load", "{}"), ("selftest", "--device", "{}"),
    ("throughput", "{}"), ("deep", "{}"), ("demo", "--network", "{}"), ("demo", "-c", "{}"),
    ("figures", "--rows", "{}"), ("speed", "-c", "{}"), ("build", "-c", "{}"),
    ("cocotb", "{}", "{}"), ("fuzz", "-c", "{}"), ("lint", "-c", "{}"), ("serve", "-c", "{}"),
    ("bench", "--block", "{}"), ("bench", "--device", "{}"), ("compare", "net", "{}"),
    ("activity", "-c", "{}"), ("experiments", "{}"), ("neurons", "--dataset", "{}"),
    ("dynamics", "--a", "{}"), ("import", "{}"), ("import", "{}.py:f"), ("import", "{}.nir")]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network whose layer is called as markup is, in a folder that is as well."""
    folder = tmp_path_factory.mktemp("x") / "[bold]"
    folder.mkdir()
    path = folder / "[/net].safetensors"        # a file in a folder called "["
    path.parent.mkdir()
    plain = random_network(np.random.default_rng(0), preset("tiny"), (4, 3), steps=2, input_bits=8)
    layers = tuple(replace(layer, name="[/layer]") for layer in plain.layers)
    replace(plain, layers=layers, about={"dataset": "[/own]"}).save(path)
    np.save(folder / "[/x].npy", np.zeros((2, 4), np.uint8))
    return path


@pytest.mark.parametrize("word", WORDS[:2])
@pytest.mark.parametrize("words", REFUSED, ids=lambda words: " ".join(words[:3]))
def test_every_refusal(network, tmp_path, monkeypatch, words, word):
    monkeypatch.chdir(tmp_path)
    done = quadfire(*(network if part == "net" else part.format(word) for part in words))
    assert done.status in (1, 2) and done.err, done.text
    assert "MarkupError" not in done.text


@pytest.mark.parametrize("words", [
    ("show", "{net}"), ("compile", "{net}", "-o", "{to}.tape"), ("header", "{net}", "-o", "{to}.h"),
    ("estimate", "{net}"), ("sweep", "{net}", "--set", "lanes=32", "-o", "{to}.png"),
    ("verilog", "-c", "tiny", "-o", "{to}"), ("simulate", "{net}", "{x}", "-c", "tiny", "-o",
                                              "{to}.json"),
    ("compare", "{net}", "{x}", "-c", "tiny", "-o", "{to}"), ("load", "{net}", "-c", "tiny"),
    ("throughput", "{net}", "-c", "tiny", "--images", 2),
    ("dynamics", "--no-pictures"), ("untrained", "5", "--shape", 1, 3, 3, "--classes", 5, "--out",
                                    "{to}.safetensors"),
    ("train", "--dataset", "digits", "--hidden", 3, "--epochs", 1, "--out", "{to}.safetensors"),
    ("quantize", "--epochs", 0, "--images", 3, "--out", "{to}.safetensors"),
    ("report", "--images", 3, "--out", "{to}.json"), ("registers", "-o", "{to}.md"),
], ids=lambda words: words[0])
def test_every_success(network, tmp_path, words):
    """The names come out as they are; what is written has the name that was asked for."""
    to = tmp_path / "[red]" / "[/out]"
    names = {"net": network, "x": network.parents[1] / "[/x].npy", "to": to}
    done = quadfire(*(str(word).format(**names) for word in words))
    assert done.status == 0, done.text
    text = "".join(done.text.split())
    for word in words:
        if "{to}" in str(word):
            assert list(to.parent.iterdir())
            assert str(word).format(**names) in text or words[0] in SILENT
    if words[0] in ("show", "compile", "estimate"):
        assert "[/layer]" in done.out


def test_a_console_that_prints_what_it_is_given(capsys):
    console = PlainConsole()
    with console.status("opening [/x]") as status:
        status.update("placing [/y]")
        console.print("[bold]", "[/z]")
    assert capsys.readouterr().out == "[bold] [/z]\n"
    with pytest.raises(MarkupError):
        console.print("[/z]", markup=True)
