"""Answers that are membranes, and inputs of counts: the module in float64 = the grid."""

import copy
from importlib.metadata import version
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from quadfire.models.frontends.importing import from_module
from quadfire.models.integer import IntegerNetwork, MembraneAnswer, reference
from quadfire.models.quantize.quantize import calibrate, real_network, to_integer

from tests.command import quadfire
from tests.models.frontends.peers import peer


def snn(name: str, **options: Any) -> Any:
    return getattr(peer("snntorch"), name)(**options)


def sj(name: str, **options: Any) -> Any:
    return getattr(peer("spikingjelly.activation_based.neuron"), name)(**options)


def layer(name: str, *arguments: Any, **options: Any) -> Any:
    return getattr(peer("spikingjelly.activation_based.layer"), name)(*arguments, **options)


STEPS, INPUTS, CLASSES = 11, 12, 5


class Leaky(nn.Module):
    """The loop over time of snnTorch's tutorials; its answer is the last layer's `mem`."""

    def __init__(self, over: str, **options):
        super().__init__()
        self.over = over
        self.fc1, self.lif1 = nn.Linear(INPUTS, 20), snn("Leaky", beta=0.8)
        self.fc2, self.lif2 = nn.Linear(20, CLASSES), snn("Leaky", beta=0.9, **options)

    def forward(self, x):
        mem1, mem2, mems = self.lif1.init_leaky(), self.lif2.init_leaky(), []
        for step in range(len(x)):
            spikes, mem1 = self.lif1(self.fc1(x[step]), mem1)
            _, mem2 = self.lif2(self.fc2(spikes.to(x.dtype)), mem2)
            mems.append(mem2)
        mems = torch.stack(mems)
        return {"last": lambda: mems[-1], "sum": lambda: mems.sum(0),
                "mean": lambda: mems.mean(0), "max": lambda: mems.max(0)[0],
                "": lambda: mems}[self.over]()


class Integrator(nn.Module):
    """Norse: LIF, then a leaky integrator that answers with its voltages."""

    def __init__(self, largest: bool):
        super().__init__()
        self.largest = largest
        norse = peer("norse.torch")
        self.fc1 = nn.Linear(INPUTS, 20)
        self.lif = norse.LIFBoxCell(norse.LIFBoxParameters(tau_mem_inv=torch.tensor(200.0)))
        self.fc2 = nn.Linear(20, CLASSES)
        self.li = norse.LIBoxCell(norse.LIBoxParameters(tau_mem_inv=torch.tensor(100.0)))

    def forward(self, x):
        states, last, voltages = None, None, []
        for step in range(len(x)):
            spikes, states = self.lif(8 * self.fc1(x[step]), states)
            out, last = self.li(self.fc2(spikes), last)
            voltages.append(out)
        return torch.stack(voltages).amax(0) if self.largest else voltages[-1]


def jelly(node: nn.Module) -> nn.Module:
    return nn.Sequential(
        layer("Linear", INPUTS, 20, step_mode="m"), sj("LIFNode", tau=2.0, step_mode="m"),
        layer("Linear", 20, CLASSES, step_mode="m"), node)


@torch.no_grad()
def run(module: nn.Module, x: Tensor) -> Tensor:
    """What a module answers, its states as before."""
    return copy.deepcopy(module)(x)


def spikes(samples: int = 6) -> Tensor:
    return (torch.rand(STEPS, samples, INPUTS, generator=torch.Generator().manual_seed(1),
                       dtype=torch.float64) < 0.5).double()


def same(module: nn.Module, x: Tensor, answer: Tensor, **options) -> IntegerNetwork:
    """The map in real numbers gives `answer`; its integers, read from a file, nearly."""
    network = from_module(module, x, **options)
    real = real_network(network, network.neurons)
    given = network.inputs(x)
    got = real(given)
    scale = STEPS if network.answer is None else 1      # the mean of a readout's currents
    assert torch.allclose(got * scale, answer, rtol=0, atol=1e-12)
    grid = network.to_grid(inputs=given, state_bits=18, fraction_bits=14)
    calibrate(grid, network, given)
    rounded = grid(given)
    assert (rounded * scale - answer).abs().median() < 0.1 * answer.abs().max()
    integer = to_integer(grid)
    logits = reference.run(integer, given).logits
    if grid.answer is None:
        assert torch.equal(logits, (rounded * STEPS * (1 << 14)).round().long())
    else:
        times = STEPS if grid.answer.integer.over == "mean" else 1
        back = logits.double() / (1 << 14) / grid.answer.scale / times
        assert torch.allclose(back + grid.answer.center, rounded, rtol=0, atol=1e-12)
    return integer


@pytest.mark.parametrize("options", [{}, {"reset_mechanism": "none"}, {"reset_delay": False}],
                         ids=["delayed", "none", "at once"])
@pytest.mark.parametrize("over", ["last", "sum", "mean", "max", ""])
def test_mem_of_snntorch(over, options):
    torch.manual_seed(0)
    module, x = Leaky(over, **options).double(), spikes()
    answer = run(module, x)
    integer = same(module, x, answer if over else answer[-1], output="membrane")
    assert integer.answer is not None and integer.answer.over == (over or "last")
    last = integer.layers[-1].neuron
    assert last is not None and integer.answer.delta == (0 if options else last.delta)
    assert integer.about == {
        "library": f"snntorch {version('snntorch')}", "input": "spikes",
        "answer": f"membrane-{over or 'last'}"}


def test_mem_before_a_reset_to_zero_is_refused():
    with pytest.raises(ValueError, match="lif2.*potential before a reset to a fixed value"):
        from_module(Leaky("last", reset_mechanism="zero").double(), spikes())


def test_mem_of_channels_of_different_thresholds_is_refused():
    module = Leaky("last", threshold=torch.linspace(0.5, 1, CLASSES)).double()
    with pytest.raises(ValueError, match="lif2.*channels differ in threshold"):
        from_module(module, spikes())


@pytest.mark.parametrize("largest", [False, True])
def test_li_of_norse(largest):
    torch.manual_seed(0)
    module, x = Integrator(largest).double(), spikes()
    integer = same(module, x, run(module, x))
    assert integer.answer == MembraneAnswer(over="max" if largest else "last")


class Largest(nn.Module):
    """Answers with the largest of spikes, or of currents, over time; or computes with it."""

    def __init__(self, what: str):
        super().__init__()
        self.what, self.fc, self.lif = what, nn.Linear(INPUTS, CLASSES), snn("Leaky", beta=0.5)

    def forward(self, x):
        mem, spikes, currents, mems = self.lif.init_leaky(), [], [], []
        for step in range(len(x)):
            currents.append(self.fc(x[step]))
            spike, mem = self.lif(currents[-1], mem)
            spikes.append(spike), mems.append(mem)
        if self.what == "sum":
            return torch.stack(mems).amax(0) + 1
        return torch.stack(spikes if self.what == "spikes" else currents).amax(0)


@pytest.mark.parametrize(("what", "message"), [
    ("spikes", "the answer is the largest count of all time steps"),
    ("currents", "the answer is the largest current of all time steps"),
    ("sum", "reads a max over time steps")])
def test_other_largest_values_are_refused(what, message):
    with pytest.raises(ValueError, match=message):
        from_module(Largest(what).double(), spikes())


@pytest.mark.parametrize("decode", ["last_mem", "mean-mem", "max-mem"])
def test_non_spiking_lif_of_spikingjelly(decode):
    torch.manual_seed(0)
    module, x = jelly(sj("NonSpikingLIFNode", tau=4.0, decode=decode)).double(), spikes()
    answer = run(module, x)
    integer = same(module, x, answer)
    assert integer.answer == MembraneAnswer(over=decode.split("-")[0].split("_")[0])


def test_an_integrator_without_leak_is_a_readout():
    """Its last potential is the sum of its currents: no membrane is read."""
    torch.manual_seed(0)
    module, x = jelly(sj("NonSpikingIFNode", decode="last_mem")).double(), spikes()
    answer = run(module, x)
    integer = same(module, x, answer)
    assert integer.answer is None and integer.layers[-1].neuron is None
    assert len(integer.layers) == 2
    assert "the sum of its currents is its last potential" in from_module(module, x).explain()


def test_the_largest_magnitude_is_refused():
    module = jelly(sj("NonSpikingLIFNode", tau=4.0, decode="max-abs-mem")).double()
    with pytest.raises(ValueError, match="the max-abs of its potentials"):
        from_module(module, spikes())


def test_an_answer_of_membranes_can_be_trained_on():
    torch.manual_seed(0)
    module, x = Leaky("last").double(), spikes()
    network = from_module(module, x)
    grid = network.to_grid(inputs=network.inputs(x)).train()
    target = torch.arange(6) % CLASSES
    losses, optimizer = [], torch.optim.Adam(grid.parameters(), lr=3e-3)
    for _ in range(60):
        loss = nn.functional.cross_entropy(grid(network.inputs(x)), target)
        optimizer.zero_grad()
        loss.backward()
        assert all(part.grad is not None and bool(part.grad.isfinite().all())
                   for part in grid.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


class Counts(nn.Module):
    """A small convolutional network on frames of counts, SpikingJelly."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            layer("Conv2d", 2, 4, 3, padding=1, step_mode="m"),
            sj("LIFNode", tau=2.0, step_mode="m"),
            layer("MaxPool2d", 2, step_mode="m"), layer("Flatten", step_mode="m"),
            layer("Linear", 4 * 3 * 4, CLASSES, step_mode="m"), sj("IFNode", step_mode="m"))

    def forward(self, x):
        return self.net(x).mean(0)


def counts() -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(6, (STEPS, 4, 2, 6, 8), generator=generator).double()


def counting() -> tuple[Counts, Tensor, Tensor]:
    torch.manual_seed(3)
    module, x = Counts().double(), counts()
    answer = run(module, x)
    return module, x, answer


def test_counts():
    module, x, answer = counting()
    network = from_module(module, x, input="counts")
    assert (network.input_shape, network.count_bits) == ((2, 6, 8), 3)
    real = real_network(network, network.neurons)
    assert torch.allclose(real(x), answer, rtol=0, atol=1e-12) and answer.any()
    assert torch.equal(real(x), real(x.byte())) and torch.equal(real(x), real(network.inputs(x)))
    grid = network.to_grid(inputs=x)
    conv, *_ = grid
    assert [branch.gain for branch in conv] == [1, 2, 4]
    first = [branch.integer_weight(conv.exponent) for branch in conv]
    columns = [weight[:, 2 * bit:2 * bit + 2] for bit, weight in enumerate(first)]
    assert torch.equal(columns[0], columns[1]) and torch.equal(columns[0], columns[2])
    assert columns[0].abs().max() > 63      # all 8 bits are used
    integer = to_integer(grid)
    assert (integer.input_shape, integer.count_bits) == ((2, 6, 8), 3)
    result = reference.run(integer, x.byte().numpy())
    assert torch.equal(result.logits.double() / STEPS, grid(x))
    with pytest.raises(ValueError, match=r"counts must be whole numbers in 0\.\.7, and 1 of"):
        grid(x.index_put((torch.tensor(0),) * 5, torch.tensor(8.0, dtype=torch.float64)))


def test_counts_are_checked_spike_for_spike():
    module, x, _ = counting()
    network = from_module(module, x, input="counts")
    assert network.check(module, x).exact


def test_counts_and_answer_survive_a_file(tmp_path):
    module, x, _ = counting()
    integer = to_integer(from_module(module, x, input="counts").to_grid())
    integer.save(tmp_path / "net.safetensors")
    again = IntegerNetwork.load(tmp_path / "net.safetensors")
    assert (again.count_bits, again.input_shape) == (3, (2, 6, 8))
    assert again.about["input"] == "counts"
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "net.safetensors").read_bytes() == \
        (tmp_path / "again.safetensors").read_bytes()


def test_the_file_says_what_it_takes_and_answers(tmp_path):
    """`quadfire show`: library, input and answer, so that a user knows years later."""
    torch.manual_seed(0)
    x = spikes()
    path = tmp_path / "net.safetensors"
    to_integer(from_module(Leaky("max").double(), x).to_grid()).save(path)
    text = " ".join(quadfire("show", path).out.split())
    assert "answer: membranes of lif2, the largest over time" in text
    assert f'"library": "snntorch {version("snntorch")}"' in text and '"input": "spikes"' in text
    module, x, _ = counting()
    to_integer(from_module(module, x, input="counts").to_grid()).save(path)
    text = " ".join(quadfire("show", path).out.split())
    assert "counts 0..7 of 2 x 6 x 8" in text and "answer: number of spikes" in text


def test_pixels_say_what_they_were_normalised_with():
    module = nn.Sequential(nn.Linear(INPUTS, CLASSES), nn.Identity()).double()
    network = from_module(module, torch.rand(3, INPUTS).double(), steps=4, input="pixels",
                          mean=[0.25], std=0.5)
    about = to_integer(network.to_grid()).about
    assert about == {"library": "torch", "input": "pixels", "answer": "current", "mean": [0.25],
                     "std": 0.5}
