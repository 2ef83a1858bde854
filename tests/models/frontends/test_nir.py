"""NIR files as imported networks: the spikes of the library that wrote them, and all refusals."""

from typing import Any

import numpy as np
import pytest
import torch

from quadfire.models.frontends.imported import ImportProblems
from quadfire.models.frontends.nir import from_nir
from quadfire.models.quantize.folded import FoldedAnswer
from quadfire.models.quantize.quantize import real_network

from tests.models.frontends.nir_files import STEPS, WRITTEN, Written, graph, inputs, write_file
from tests.models.frontends.nir_runs import (
    IF,
    SAID,
    chain,
    conv,
    ends,
    integrated,
    problems,
    random,
    run,
)
from tests.models.frontends.peers import peer

pytestmark = pytest.mark.fast


def written(name: str, folder: Any) -> tuple[Written, dict[str, Any]]:
    torch.manual_seed(7)
    make, options = WRITTEN[name]
    peer("nir")
    peer("h5py")
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


# Answers and inputs ------------------------------------------------------------------------------


@pytest.mark.parametrize(("last", "output", "answer"), [
    (IF, None, "count"), (IF, "count", "count"), (IF, "membrane", "membrane-last"),
    (None, None, "current"),
    ({"type": "LI", "tau": 4.0, "r": 1.0, "v_leak": 0.0}, None, "membrane-last"),
    ({"type": "I", "r": 0.5}, None, "current"), ({"type": "I", "r": 0.5}, "current", "current"),
    ({"type": "I", "r": 0.5}, "membrane", "membrane-last"),
])
def test_answers(last, output, answer, tmp_path):
    weight = random(4, 5)
    nodes = {"fc": {"type": "Linear", "weight": weight}} | ({"last": last} if last else {})
    path, x = chain(tmp_path, (5,), (4,), nodes), inputs(5)
    options = SAID | {"dt": 1.0, "solver": "euler"}
    net = from_nir(path, steps=STEPS, output=output, **options)
    assert net.output == answer
    maps, potentials = run(net, x)
    total = (x @ torch.from_numpy(weight).T).sum(0)
    if last is None or last["type"] == "I":
        total = total if last is None else 0.5 * total
        if answer == "current":         # the mean over time
            torch.testing.assert_close(maps[-1].mean(0).flatten(1) * STEPS, total)
        else:
            form = net.layers[-1].neuron.canonical()    # pyright: ignore
            torch.testing.assert_close(potentials[-1].flatten(1) / form.scale, total)
    wrong = {"count": "current", "membrane-last": "current", "current": "count"}[answer]
    if not (last and last["type"] == "I"):
        given = {"IF": "count or membrane", "LI": "membrane"}[last["type"]] if last else "current"
        assert problems(path, output=wrong, **options) == [
            f"node 'output' Output: --answer {wrong}: the network gives {given}"]


def test_pixels_and_counts(tmp_path):
    weight = random(4, 5)
    path = chain(tmp_path, (5,), (4,), {"fc": {"type": "Linear", "weight": weight}, "if": IF})
    pixels = torch.randint(0, 256, (7, 5)) / 255
    net = from_nir(path, steps=STEPS, input="pixels", mean=0.25, std=0.5, **SAID)
    currents = ((pixels.double() - 0.25) / 0.5) @ torch.from_numpy(weight).T
    found, = real_network(net, [net.layers[0].neuron.canonical()],      # pyright: ignore
                          input_bits=8).run((pixels * 255).round().to(torch.uint8)[..., None, None])
    # real_network sees p / 256 for a byte p; `fc` was trained on (p / 255 - mean) / std
    assert torch.equal(found.flatten(2), integrated(currents.expand(STEPS, 7, 4)))
    counts = torch.randint(0, 6, (STEPS, 7, 5))
    net = from_nir(path, steps=STEPS, input="counts", count_bits=3, **SAID)
    assert (net.input_shape, net.count_bits) == ((5, 1, 1), 3)
    maps, _ = run(net, counts)
    assert torch.equal(maps[0].flatten(2), integrated(counts.double() @ torch.from_numpy(weight).T))


# Refusals ----------------------------------------------------------------------------------------

CUBA = {"type": "CubaLIF", "tau_syn": np.full(4, 2e-4), "tau_mem": np.full(4, 4e-4),
        "r": np.ones(4), "v_leak": np.zeros(4), "v_threshold": np.ones(4)}
FC = {"type": "Linear", "weight": random(4, 5)}
REC = {"type": "Linear", "weight": random(4, 4)}
AGAIN = "the array one state for each neuron: train with LIF"


def test_a_recurrent_network_of_second_order_is_refused_with_both_reasons(tmp_path):
    inner = graph(ends((4,), (4,)) | {"lif": CUBA, "w_rec": REC},
                  [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")])
    path = chain(tmp_path, (5,), (4,), {"fc": FC, "lif1": inner, "fc2": REC, "lif2": CUBA})
    assert problems(path) == [
        f"node 'lif1.lif' CubaLIF has a synaptic current (tau_syn = 0.0002), {AGAIN} (also: node "
        "'lif2' CubaLIF)",
        "'lif1.lif' -> 'lif1.w_rec' -> 'lif1.lif' is a loop: recurrent networks cannot be imported "
        "yet"]


def test_lines_say_what_is_refused(tmp_path):
    path = chain(tmp_path, (5,), (4,), {"fc": FC, "lif": CUBA})
    with pytest.raises(ImportProblems) as caught:
        from_nir(path, steps=STEPS)
    assert [(line.name, line.verdict) for line in caught.value.lines] == [
        ("lif", f"no: has a synaptic current (tau_syn = 0.0002), {AGAIN}"), ("fc", "exact")]


def test_every_loop_is_named(tmp_path):
    nodes = ends((5,), (4,)) | {"fc": FC, "a": IF, "b": REC, "c": REC, "d": IF}
    edges = [("input", "fc"), ("fc", "a"), ("a", "b"), ("b", "c"), ("c", "a"), ("a", "d"),
             ("d", "d"), ("d", "output")]
    path = write_file(tmp_path / "net.nir", graph(nodes, edges))
    loop = "is a loop: recurrent networks cannot be imported yet"
    assert problems(path, **SAID) == [f"'a' -> 'b' -> 'c' -> 'a' {loop}", f"'d' -> 'd' {loop}"]


LI = {"type": "LI", "tau": 4.0, "r": 1.0, "v_leak": 0.0}
KNOWN = SAID | {"dt": 1.0, "solver": "euler"}
MAP = (2, 6, 6)


@pytest.mark.parametrize(("shape", "answer", "nodes", "problem"), [
    ((5,), (4,), {"fc": FC, "wait": {"type": "Delay", "delay": np.ones(4)}, "if": IF},
     "node 'wait' Delay: the array has no delays: train without them"),
    ((5,), (4,), {"fc": FC, "li": LI, "fc2": REC, "if": IF},
     "node 'fc2' Linear: reads the potential of 'li', which has no spikes: only the answer may be "
     "a potential"),
    ((6,), (4,), {"fc": FC, "if": IF},
     "node 'fc' Linear: weight has shape [4, 5], which takes no [6]: the array multiplies a matrix "
     "with a vector, put a Flatten before it"),
    ((3, 5), (4,), {"fc": FC, "if": IF},
     "node 'fc' Linear: weight has shape [4, 5], which takes no [3, 5]: the array multiplies a "
     "matrix with a vector, put a Flatten before it"),
    ((5,), (4,), {"fc": FC | {"type": "Affine", "bias": np.ones(3)}, "if": IF},
     "node 'fc' Affine: bias has shape [3], it has 4 outputs"),
    ((5,), (5,), {"fc": FC, "if": IF},
     "node 'output' Output: states the shape [5], what leads to it has [4]"),
    (MAP, (3, 4, 4), {"c": conv("Conv2d", random(3, 2, 3, 3), input_shape=[6, 5]), "if": IF},
     "node 'c' Conv2d: states the input [6, 5], what leads to it has [6, 6]"),
    (MAP, (3, 4, 4), {"c": conv("Conv2d", random(3, 3, 3, 3)), "if": IF},
     "node 'c' Conv2d: takes 3 channels, its input has 2"),
    (MAP, (3, 4, 4), {"c": conv("Conv2d", random(3, 2, 3, 3), groups=2), "if": IF},
     "node 'c' Conv2d: groups must divide its 3 outputs, not 2"),
    (MAP, (3, 4, 4), {"c": conv("Conv2d", random(3, 2, 3, 3), stride=[1, 2, 1]), "if": IF},
     "node 'c' Conv2d: stride must be 2 numbers from 1 up, not [1, 2, 1]"),
    (MAP, (3, 4, 4), {"c": conv("Conv2d", random(3, 2, 3, 3), padding="full"), "if": IF},
     "node 'c' Conv2d: padding must be numbers, same or valid, not 'full'"),
    (MAP, (3, 4), {"c": conv("Conv1d", random(3, 2, 3)), "if": IF},
     "node 'c' Conv1d: takes [C, L], not [2, 6, 6]"),
    (MAP, (12, 6), {"f": {"type": "Flatten", "start_dim": 0, "end_dim": 1}, "if": IF},
     "node 'f' Flatten: makes [12, 6] of [2, 6, 6]: the array flattens whole maps only"),
    (MAP, (72,), {"f": {"type": "Flatten", "start_dim": 0, "end_dim": -1, "input_type": [2, 6, 5]},
                  "if": IF},
     "node 'f' Flatten: states the input [2, 6, 5], what leads to it has [2, 6, 6]"),
    ((5,), (5,), {"s": {"type": "Scale", "scale": np.ones(4)}, "if": IF},
     "node 's' Scale: scale has shape [4], its map [5]"),
    ((4, 5), (4, 5), {"if": IF | {"v_threshold": random(4, 5) + 3}},
     "node 'if' IF: v_threshold differs inside of a channel"),
    ((2, 3, 4, 5), (5,), {"if": IF},
     "node 'input' Input: its shape [2, 3, 4, 5] must have one to three sides: [N], [C, L] or [C, "
     "H, W] without the batch; export with a sample that is a batch of one"),
])
def test_refused(shape, answer, nodes, problem, tmp_path):
    found = problems(chain(tmp_path, shape, answer, nodes), **KNOWN)
    assert len(found) == 1 and found[0].startswith(problem)


def test_ends_of_the_graph(tmp_path):
    nodes = ends((5,), (4,)) | {"fc": FC, "if": IF}
    edges = [("input", "fc"), ("fc", "if"), ("if", "output")]

    def told(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> list[str]:
        return problems(write_file(tmp_path / "net.nir", graph(nodes, edges)), **KNOWN)

    two = nodes | {"in2": nodes["input"], "fc2": FC}
    assert told(two, [*edges, ("in2", "fc2"), ("fc2", "if")]) == [
        "node 'in2' Input: the graph has 2 Inputs, the array takes one (also: node 'input' Input)"]
    assert told({k: v for k, v in nodes.items() if k != "input"}, edges[1:]) == [
        "the graph has no Input"]
    assert told({k: v for k, v in nodes.items() if k != "output"}, edges[:2]) == [
        "the graph has no Output"]
    assert told(nodes | {"out2": nodes["output"]}, [*edges, ("fc", "out2")]) == [
        "node 'out2' Output: the graph has 2 Outputs, the array gives one answer (also: node "
        "'output' Output)"]
    assert told(nodes | {"x": REC}, [*edges, ("x", "if")]) == ["node 'x' Linear: nothing leads to "
                                                              "it"]
    assert told(nodes | {"x": {"type": "Linear", "weight": random(3, 5)}},
                [*edges, ("input", "x"), ("x", "if")]) == [
        "node 'if' IF: adds [4] of 'fc' and [3] of 'x'"]


@pytest.mark.parametrize(("options", "message"), [
    ({"steps": 0}, "steps must be above 0, not 0"),
    ({"input": "events"}, "input must be pixels, spikes, counts, not 'events'"),
    ({"output": "class"}, "output must be count, current, membrane, not 'class'"),
    ({"input": "counts"}, "count_bits must be 1 to 5, not 0: the array takes counts of up to 31"),
    ({"reset": "soft"}, "reset must be zero, subtract or subtract-delayed, not 'soft'"),
])
def test_options_that_mean_nothing(options, message, tmp_path):
    path = chain(tmp_path, (5,), (4,), {"fc": FC, "if": IF})
    with pytest.raises(ValueError) as caught:
        from_nir(path, **{"steps": STEPS} | options)
    assert str(caught.value) == message


def test_a_long_chain_of_nodes(tmp_path):
    """No recursion: more than a thousand nodes one behind the other."""
    nodes = {f"n{i}": {"type": "Scale", "scale": np.ones(4)} for i in range(1200)} | {"if": IF}
    net = from_nir(chain(tmp_path, (4,), (4,), nodes), steps=2, **SAID)
    assert len(net.layers) == 1 and len(net.lines) == 1201


def test_explains_what_was_read_and_what_it_becomes(tmp_path):
    nodes = {"fc": FC, "if": IF | {"v_threshold": np.array([0.5, 1.0, 1.0, 2.0])}}
    net = from_nir(chain(tmp_path, (5,), (4,), nodes), steps=STEPS, writer="sinabs")
    assert net.explain().splitlines() == [
        "NIR 1.0.8 of Sinabs; input: spikes of [5, 1, 1], 16 steps; answer: count",
        *net.explain().splitlines()[1:4],
        "no file tells norm_input, tau_syn, min_v_mem, reset_fn of Sinabs: taken as its defaults",
        "if: while no potential reaches two thresholds"]
    assert [(line.name, line.read, line.verdict) for line in net.lines] == [
        ("fc", "Linear(weight [4, 5])", "exact"),
        ("if", "IF(r=1, v_threshold=0.5..2), dt = 1, subtract, fires at its threshold",
         "exact while no potential reaches two thresholds")]


def test_says_where_potentials_start(tmp_path):
    nodes = {"fc": FC, "if": IF | {"v_reset": -0.5}}
    path = chain(tmp_path, (5,), (4,), nodes)
    assert from_nir(path, steps=STEPS, fires="at").remarks == (
        "potentials start at 0; if SpikingJelly wrote the file, they start at v_reset: --writer "
        "spikingjelly",)
