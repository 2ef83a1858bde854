"""`quadfire import`: what it prints, writes and refuses."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from quadfire.models.integer import IntegerNetwork

from tests.command import quadfire
from tests.models.frontends.peers import peer

SCRIPT = '''
import torch
from torch import nn
import snntorch


class Net(nn.Module):
    """Two layers over five steps."""

    def __init__(self, neuron):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(12, 9), nn.Linear(9, 4)
        self.lif1, self.lif2 = neuron(), neuron()

    def forward(self, x):
        states = [self.lif1.reset_mem(), self.lif2.reset_mem()]
        spikes = []
        for _ in range(5):
            one, states[0] = self.lif1(self.fc1(x.flatten(1)), states[0])
            two, states[1] = self.lif2(self.fc2(one), states[1])
            spikes.append(two)
        return torch.stack(spikes)


class Pooled(nn.Module):
    """Both pools stand before their neurons."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.lif1, self.lif2 = (snntorch.Leaky(beta=0.5) for _ in range(2))
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        a, b, spikes = self.lif1.reset_mem(), self.lif2.reset_mem(), []
        for _ in range(3):
            s, a = self.lif1(self.pool(self.conv1(x)), a)
            s, b = self.lif2(self.pool(self.conv2(s)), b)
            spikes.append(s.mean((-1, -2)))
        return torch.stack(spikes)


def make():
    torch.manual_seed(3)
    return Net(lambda: snntorch.Leaky(beta=0.5))


def two_states():
    def neuron(**options):
        return snntorch.Synaptic(alpha=0.8, beta=0.7, init_hidden=True, **options)

    return nn.Sequential(nn.Flatten(), nn.Linear(12, 9), neuron(), nn.Linear(9, 4), neuron())


def wrong():
    class Wrong(Net):
        def forward(self, x):
            seven = 7
            return super().forward(seven(x))

    return Wrong(lambda: snntorch.Leaky(beta=0.5))


def pooled():
    torch.manual_seed(4)
    return Pooled()


def number():
    return 7


def broken():
    return undefined
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a script, weights and an example."""
    peer("snntorch")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(SCRIPT)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (40, 1, 3, 4)) / 255
    np.savez("x.npz", x=x.astype(np.float32), y=rng.integers(0, 4, 40))
    scope: dict = {}
    exec(SCRIPT, scope)
    torch.save(scope["make"]().state_dict(), "net.pt")
    return tmp_path


def test_a_network_comes_in(folder):
    done = quadfire("import", "net.py:make", "--weights", "net.pt", "--example", "x.npz", "--input",
                    "pixels", "--check", "-o", "out/net.safetensors")
    assert done.status == 0, done.text
    assert done.out.count("all the same") == 2
    assert "40 samples: the module" in done.out
    network = IntegerNetwork.load("out/net.safetensors")
    assert (network.input_shape, network.steps, network.input_bits) == ((1, 3, 4), 5, 8)
    assert network.about["input"] == "pixels" and "snntorch" in network.about["library"]
    with np.load("out/net-inputs.npz") as arrays:
        assert arrays["x"].shape == (40, 1, 3, 4) and arrays["x"].dtype == np.uint8
        assert np.array_equal(arrays["y_test"], np.load("x.npz")["y"])


def test_explain_writes_nothing(folder):
    done = quadfire("import", "net.py:make", "--shape", "1,3,4", "--input", "pixels", "--explain")
    assert done.status == 0, done.text
    assert "lif1" in done.out and "subtract, delayed" in done.out and "exact" in done.out
    assert sorted(path.name for path in folder.iterdir()) == ["net.pt", "net.py", "x.npz"]


def test_all_problems_are_told_at_once(folder):
    done = quadfire("import", "net.py:two_states", "--shape", "1,3,4", "--input", "pixels",
                    "--steps", 4)
    assert done.status == 2, done.text
    assert "layer '2': Synaptic has" in done.err and "layer '4': Synaptic has" in done.err
    done = quadfire("import", "net.py:pooled", "--shape", "1,8,8", "--input", "pixels")
    assert done.status == 2 and done.err.count("a max pool reads currents") == 2
    assert "--move-pools" in done.err


def test_moved_pools_say_so(folder):
    done = quadfire("import", "net.py:pooled", "--shape", "1,8,8", "--input", "pixels",
                    "--move-pools", "--explain")
    assert done.status == 0, done.text
    assert done.out.count("changed: moved") == 2 and done.out.count("note: lif") == 2


@pytest.mark.parametrize(("words", "message"), [
    (["net.py:number"], "net.py:number returned a int, not a torch.nn.Module"),
    (["net.py:none"], "there is no function 'none'; it defines Net, Pooled, make, two_states"),
    (["net.py:broken"], "net.py: NameError: name 'undefined' is not defined"),
    (["net.py"], "say FILE.py:FUNCTION"), (["no.py:make"], "no.py: there is no such file"),
    (["net.py:make", "--bits", "5"], "bits must be 4 or 8"),
    (["net.py:make", "--weights", "net.py"], "not weights that torch.save wrote"),
    (["net.py:make", "--weights", "x.npz"], "x.npz"),
    (["net.py:make", "--reset", "zero"], "--reset is for NIR files"),
    (["net.py:make", "--shape", "1,x"], "--shape must be numbers"),
    (["net.py:make", "--std", "0"], "std must be above 0"),
    (["net.py:make", "--steps", "4"], "the module runs 5 time steps, not 4"),
    (["no.nir"], "how many time steps: --steps"),
    (["no.nir", "--steps", "4"], "no.nir"),
    (["net.py:make", "--shape", "2,5,5"], "the module's forward failed on an input of"),
    (["net.py:wrong"], "forward failed on an input of [1, 1, 3, 4]: TypeError: 'int' object"),
], ids=str)
def test_what_is_wrong_is_one_line(folder, words, message):
    done = quadfire("import", "--input", "pixels", "--shape", "1,3,4", *words)
    assert done.status == 2, done.text
    assert message in done.err and "Traceback" not in done.text
    assert len([line for line in done.err.splitlines() if line.startswith("error:")]) == 1


def test_no_example_and_no_shape(folder):
    done = quadfire("import", "net.py:make")
    assert done.status == 2
    assert "name an --example of the network's input, or its --shape" in done.err


@pytest.mark.parametrize(("change", "message"), [
    (lambda state: state.pop("fc2.bias"), "net.pt lacks fc2.bias"),
    (lambda state: state.update(more=torch.zeros(1)), "net.pt has more, which the network has not"),
    (lambda state: state["fc1.weight"].fill_(float("nan")), "net.pt: fc1.weight is NaN"),
    (lambda state: state.update({"fc1.weight": torch.zeros(3, 3)}), "net.pt: fc1.weight is [3, 3]"),
])
def test_wrong_weights(folder, change, message):
    state = torch.load("net.pt", weights_only=True)
    change(state)
    torch.save(state, "net.pt")
    done = quadfire("import", "net.py:make", "--weights", "net.pt", "--shape", "1,3,4", "--input",
                    "pixels")
    assert done.status == 2 and message in done.err, done.text


def test_a_whole_network_is_no_state_dict(folder):
    """A pickle is not read."""
    torch.save({"fc1.weight": Fraction(1, 2)}, "net.pt")
    done = quadfire("import", "net.py:make", "--weights", "net.pt", "--shape", "1,3,4", "--input",
                    "pixels")
    assert done.status == 2 and "holds more than tensors" in done.err


def test_nested_state_dicts_and_safetensors(folder):
    from safetensors.torch import save_file

    state = torch.load("net.pt", weights_only=True)
    torch.save({"epoch": 3, "model_state_dict": state}, "nested.pt")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, "net.safetensors")
    for name in ("nested.pt", "net.safetensors"):
        done = quadfire("import", "net.py:make", "--weights", name, "--shape", "1,3,4", "--input",
                        "pixels", "-o", f"{name}.out")
        assert done.status == 0, done.text
