"""How fast training is beside SpikingJelly: one step of the same network, interleaved.

A step is forward, loss, backward and SGD. Networks are those of one text, with convolutions and
tdBN of the same shapes, T = 4 and constant pixels; images are random bytes. After a step each to
warm up, the ways take turns, so that what else the machine does slows all of them.
"""

import re
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from quadfire.models.networks import make_network
from quadfire.models.neurons import SpikingNeuron, make_neuron

__all__ = ["NEURONS", "Timing", "compare_networks", "compare_neurons"]

#: Ours with the parameters that make them SpikingJelly's, see `neurons`.
NEURONS: dict[str, dict[str, Any]] = {
    "qif": {"kind": "qif_euler", "tau": 2.0, "a0": 1.0, "v_rest": 0.0, "v_c": 0.8,
            "v_reset": -0.1, "window": 1.0},
    "lif": {"kind": "lif", "beta": 0.5, "gain": 0.5, "v_reset": 0.0, "window": 1.0}}


class Timing(NamedTuple):
    """Seconds of a step in each round, by way: quadfire, eager, compiled."""

    rounds: dict[str, list[float]]

    def median(self, way: str) -> float:
        return statistics.median(self.rounds[way])

    def ratio(self, way: str) -> float:
        """Median over the rounds of how many times as long as ours a way takes."""
        return statistics.median(other / own for own, other in zip(
            self.rounds["quadfire"], self.rounds[way], strict=True))


def _theirs(kind: str) -> nn.Module:
    """SpikingJelly's neuron, for sequences."""
    from spikingjelly.activation_based import neuron, surrogate

    options: dict[str, Any] = {"surrogate_function": surrogate.Rect(alpha=0.5), "step_mode": "m"}
    if kind == "qif":
        return neuron.QIFNode(tau=2.0, v_c=0.8, a0=1.0, v_threshold=1.0, v_rest=0.0, v_reset=-0.1,
                              **options)
    return neuron.LIFNode(tau=2.0, v_threshold=1.0, v_reset=0.0, **options)


class _Network(nn.Module):
    """The network of a text in SpikingJelly's layers, as its users write it."""

    def __init__(self, text: str, kind: str, steps: int):
        super().__init__()
        from spikingjelly.activation_based import layer

        self.steps, layers = steps, []
        channels, side = 3, 32
        *words, last = text.split("-")
        inputs = 0
        for word in words:
            numbers = [int(n) for n in re.findall(r"\d+", word)]
            if word.startswith("P"):
                layers.append(layer.MaxPool2d(numbers[0], step_mode="m"))
                side //= numbers[0]
            elif "C" in word:
                layers += [layer.Conv2d(channels, numbers[0], numbers[1], padding=numbers[1] // 2,
                                        bias=False, step_mode="m"),
                           layer.ThresholdDependentBatchNorm2d(1.0, 1.0, numbers[0]),
                           _theirs(kind)]
                channels = numbers[0]
            else:
                layers += [layer.Flatten(step_mode="m"),
                           layer.Linear(channels * side * side, numbers[0], bias=False,
                                        step_mode="m"),
                           layer.BatchNorm1d(numbers[0], step_mode="m"), _theirs(kind)]
                inputs = numbers[0]
        if not inputs:
            layers.append(layer.Flatten(step_mode="m"))
            inputs = channels * side * side
        self.layers = nn.Sequential(*layers, nn.Linear(inputs, int(last)))

    def forward(self, x: Tensor) -> Tensor:
        x = (x.float() / 256)[None].expand(self.steps, *x.shape)
        return self.layers(x).mean(0)


def _rounds(ways: dict[str, Callable[[], None]], rounds: int,
            report: Callable[[str], None]) -> Timing:
    """Time each way once a round, after one call to warm up."""
    for name, run in ways.items():
        report(f"{name}: first step")
        run()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        report(f"round {number + 1} of {rounds}")
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return Timing(times)


def _compiled(module: nn.Module) -> nn.Module:
    """`torch.compile` of a module, anew for it."""
    return torch.compile(module)    # pyright: ignore[reportReturnType]


def compare_networks(kind: str, *, text: str, steps: int = 4, batch: int = 32,
                     rounds: int = 7, compiled: bool = True,
                     report: Callable[[str], None] = lambda _: None) -> Timing:
    """Seconds of a whole step of training of the network `text` with neurons of a kind."""
    from spikingjelly.activation_based.functional import reset_net

    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (batch, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(int(text.split("-")[-1]), (batch,), generator=generator)

    def step(network: nn.Module, call: nn.Module, reset: bool) -> Callable[[], None]:
        optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)

        def run() -> None:
            if reset:
                reset_net(network)
            loss = functional.cross_entropy(call(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return run

    torch.manual_seed(1)
    ours = make_network(text, _ours(kind), input_shape=(3, 32, 32),
                        classes=int(text.split("-")[-1]), steps=steps)
    ways = {"quadfire": step(ours, ours, False)}
    for name in ("eager", "compiled")[:1 + compiled]:
        theirs = _Network(text, kind, steps)
        ways[name] = step(theirs, _compiled(theirs) if name == "compiled" else theirs, True)
    return _rounds(ways, rounds, report)


def _ours(kind: str) -> SpikingNeuron:
    return make_neuron(**NEURONS[kind])


def compare_neurons(kind: str, *, shape: tuple[int, ...] = (4, 32, 32, 32, 32), rounds: int = 7,
                    compiled: bool = True, report: Callable[[str], None] = lambda _: None
                    ) -> tuple[Timing, float]:
    """(seconds of forward and backward of neurons alone, greatest difference of gradients).

    The difference is that of ours and theirs by the currents [T, N, ...], relative to the largest.
    """
    from spikingjelly.activation_based.functional import reset_net

    generator = torch.Generator().manual_seed(2)
    x, by_out = (torch.randn(shape, generator=generator) for _ in range(2))
    found: dict[str, Tensor] = {}

    def step(name: str, module: nn.Module, call: nn.Module) -> Callable[[], None]:
        def run() -> None:
            module.reset() if isinstance(module, SpikingNeuron) else reset_net(module)
            leaf = x.detach().requires_grad_()
            call(leaf).backward(by_out)
            assert leaf.grad is not None
            found[name] = leaf.grad

        return run

    ours = _ours(kind)
    ways = {"quadfire": step("quadfire", ours, ours)}
    for name in ("eager", "compiled")[:1 + compiled]:
        theirs = _theirs(kind)
        ways[name] = step(name, theirs, _compiled(theirs) if name == "compiled" else theirs)
    timing = _rounds(ways, rounds, report)
    difference = (found["quadfire"] - found["eager"]).abs().max() / found["eager"].abs().max()
    return timing, difference.item()
