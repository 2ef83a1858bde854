"""What tests of imports share: the import equals the module in float64, or refuses by name."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from quadfire.models.frontends.check import CheckReport, check, input_map
from quadfire.models.frontends.copying import fresh_copy
from quadfire.models.frontends.imported import Imported
from quadfire.models.frontends.importing import from_module
from quadfire.models.integer import INPUT
from quadfire.models.neurons import IF
from quadfire.models.quantize.quantize import real_network

__all__ = ["Linked", "equal", "means", "real_answer", "refused", "run", "spikes"]


class _Double(TorchFunctionMode):
    """Spike functions of snnTorch leave float64 for float32; here they do not."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (Tensor.double if func is Tensor.float else func)(*args, **(kwargs or {}))


def spikes(*shape: int, rate: float = 0.4, seed: int = 0) -> Tensor:
    """Spikes of 0 and 1."""
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def run(module: nn.Module, x: Tensor, repeat: int = 0) -> Any:
    """What a module gives in float64 and eval mode, from its start."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        copy, x = fresh_copy(module).double().eval(), x.double()
        with torch.no_grad(), _Double():
            return torch.stack([copy(step) for step in x]) if repeat else copy(x)
    finally:
        torch.set_default_dtype(before)


def real_answer(network: Imported, x: Tensor) -> Tensor:
    """[N, outputs] of the map in real numbers: mean currents, or counts of spikes."""
    neurons: list[Any] = [layer.neuron and layer.neuron.canonical() for layer in network.layers]
    real = real_network(network, neurons, input_bits=network.input_bits or 0)
    maps = {INPUT: input_map(network, x)}
    result = torch.empty(0)
    for number, layer in enumerate(real):
        currents = layer.current(maps.__getitem__)
        currents = currents.expand(network.steps, *currents.shape[1:])
        result = maps[number] = currents if layer.neuron is None else \
            layer.spikes(currents, layer.neuron)
    return (result.mean(0) if network.output == "current" else result.sum(0)).flatten(1)


def equal(module: nn.Module, x: Tensor, *, answer: Tensor | None = None, alive: bool = True,
          check_spikes: bool = True, **options: Any) -> Imported:
    """The import of a module whose spikes and answers are the module's own.

    answer: [N, outputs] to compare with; None: what the module gives, [T, N, ...] or [N, ...].
    alive: some neurons of every layer must spike, and some must not. check_spikes: compare those of
    every layer; else the answers alone.
    """
    network = from_module(module, x, **options)
    report = check(network, module, x) if check_spikes else CheckReport()
    assert report.exact and not report.skipped, str(report)
    if alive:
        assert all(0 < layer.rate < 1 for layer in report.layers), str(report)
    found = real_answer(network, x)
    if answer is None:
        steps = x.expand(network.repeat, *x.shape) if network.repeat and \
            network.input == "pixels" else x
        answer = run(module, steps, repeat=network.repeat)
        if isinstance(answer, tuple):
            answer = answer[0]
        assert isinstance(answer, Tensor)
        if answer.ndim > 1 and answer.numel() == network.steps * found.numel():
            time = 1 if network.layout == "NT" else 0
            if network.layout == "(NT)":
                answer = answer.view(-1, network.steps, *answer.shape[1:])
                time = 1
            answer = answer.mean(time) if network.output == "current" else answer.sum(time)
    assert math.prod(answer.shape) == found.numel()
    torch.testing.assert_close(found, answer.double().reshape(found.shape), rtol=1e-9, atol=1e-9)
    return network


def refused(module: nn.Module, x: Tensor, *words: str, **options: Any) -> str:
    """The message of an import that is refused, which holds all of `words`."""
    with pytest.raises(ValueError) as error:
        from_module(module, x, **options)
    text = str(error.value)
    assert "\n" not in text, text
    for word in words:
        assert word in text, f"{word!r} is not in: {text}"
    return text


class Linked(nn.Module):
    """Layers, then neurons of ours that integrate and fire, over spikes [T, N, ...] step by step.

    A forward of its own can be given: called with this module and one step, it returns spikes.
    """

    def __init__(self, *layers: nn.Module, step: Any = None, threshold: float = 0.6):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.neuron = IF(step_mode="s", v_threshold=threshold)
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        step = self.step or (lambda self, x: self.neuron(self.layers(x)))
        return means(torch.stack([step(self, each) for each in x]))


def means(x: Tensor) -> Tensor:
    """[T, N, C] of maps [T, N, C, ...]: answers are vectors."""
    return x.flatten(3).mean(-1) if x.ndim > 3 else x
