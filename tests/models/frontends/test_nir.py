"""NIR files as imported networks: the spikes of the library that wrote them, and all refusals."""

from typing import Any

import pytest
import torch
from torch import Tensor

from quadfire.models.frontends.imported import Imported, ImportProblems
from quadfire.models.frontends.nir import from_nir
from quadfire.models.quantize.folded import FoldedAnswer
from quadfire.models.quantize.quantize import real_network

from tests.models.frontends.nir_files import STEPS, WRITTEN, Written
from tests.models.frontends.peers import peer

pytestmark = pytest.mark.fast


def run(net: Imported, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """In float64: the spikes of every layer [T, N, C, H, W], and the last layer's potentials."""
    real = real_network(net, [layer.neuron and layer.neuron.canonical() for layer in net.layers])
    layers = list(real)
    potentials: list[Tensor] = []
    layers[-1].watch = potentials.append
    maps = list(real.run(net.inputs(x)))
    return maps, torch.stack(potentials) if potentials else maps[-1]


def written(name: str, folder: Any) -> tuple[Written, dict[str, Any]]:
    torch.manual_seed(7)
    make, options = WRITTEN[name]
    peer("nir"), peer("h5py")
    return make(folder), options


@pytest.mark.parametrize("name", WRITTEN)
def test_spikes_are_those_of_the_library_that_wrote_the_file(name, tmp_path):
    file, options = written(name, tmp_path)
    net = from_nir(file.path, steps=STEPS, **options)
    maps, potentials = run(net, file.x)
    for layer, found, expected in zip(net.layers, maps, file.spikes, strict=False):
        assert torch.equal(found, expected.reshape(found.shape)), layer.name
        assert 0.002 < expected.mean() < 0.9, layer.name
    assert len(maps) == len(file.spikes) + (file.potential is not None)
    if file.potential is not None:
        form = net.layers[-1].neuron.canonical()    # pyright: ignore[reportOptionalMemberAccess]
        last = potentials[-1].flatten(1) / form.scale + form.center
        torch.testing.assert_close(last, file.potential, rtol=0, atol=1e-12)
        assert net.output == "membrane-last" and net.answer == FoldedAnswer(over="last")
        assert form.delta == 0      # a spike at the upper limit leaves the potential alone
    else:
        assert net.output == "count"


# What a file does not tell -----------------------------------------------------------------------

FIRES = "whether it fires at its threshold is not known: say --fires above or at"
LOADS = "v_reset = 0 is written for resets of all kinds: say --reset zero, subtract or " \
        "subtract-delayed"
SOLVED = "how it was solved is not known: say --solver euler or exact"


def problems(path: Any, **options: Any) -> list[str]:
    """What stands in the way of an import, each without the path."""
    with pytest.raises(ImportProblems) as caught:
        from_nir(path, steps=STEPS, **options)
    assert str(caught.value) == "\n".join(caught.value.problems)
    assert all(problem.startswith(f"{path}: ") for problem in caught.value.problems)
    return [problem.removeprefix(f"{path}: ") for problem in caught.value.problems]


@pytest.mark.parametrize(("name", "expected"), [
    # r = tau / 1e-4 speaks for dt and Euler, so that snnTorch is asked for less.
    ("snnTorch, dense", [
        f"node '1' LIF: {LOADS} (also: node '3' LIF, node '5' LIF)",
        f"node '1' LIF: {FIRES} (also: node '3' LIF, node '5' LIF)"]),
    ("SpikingJelly", [
        "node '_1' LIF: tau = 0.0002 with r = 1: dt is not known: say --dt; if SpikingJelly wrote "
        "it, use --writer spikingjelly (also: node '_7' LIF)",
        f"node '_1' LIF: {SOLVED} (also: node '_7' LIF)",
        f"node '_1' LIF: {FIRES} (also: node '_5' LIF, node '_7' LIF, node '_9' IF)",
        f"node '_5' LIF: {LOADS} (also: node '_7' LIF)"]),
    ("Norse", [
        "node '1' LIF: tau = 8e-06 with r = 1: dt is not known: say --dt; if Norse wrote it, use "
        "--writer norse",
        f"node '1' LIF: {SOLVED} (also: node '5' LI)",
        f"node '1' LIF: {LOADS} (also: node '3' IF)", f"node '1' LIF: {FIRES} (also: node '3' IF)",
        "node '5' LI: tau = 4e-06 with r = 1: dt is not known: say --dt; if Norse wrote it, use "
        "--writer norse"]),
    ("Sinabs, LIF", [
        "node '1' LIF: tau = 8 with r = 1: dt is not known: say --dt; if Sinabs wrote it, use "
        "--writer sinabs",
        f"node '1' LIF: {SOLVED} (also: node '3' LIF)",
        f"node '1' LIF: {LOADS} (also: node '3' LIF)",
        f"node '1' LIF: {FIRES} (also: node '3' LIF)",
        "node '3' LIF: tau = 4 with r = 1: dt is not known: say --dt; if Sinabs wrote it, use "
        "--writer sinabs"]),
])
def test_what_is_not_known_is_asked_for(name, expected, tmp_path):
    file, _ = written(name, tmp_path)
    assert problems(file.path) == expected
