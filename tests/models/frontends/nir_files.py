"""NIR files for tests: written by hand, and by other libraries with the spikes that they give."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tests.models.frontends.peers import peer

__all__ = ["STEPS", "WRITTEN", "Written", "graph", "inputs", "write_file"]

STEPS, SAMPLES = 16, 40


# By hand -----------------------------------------------------------------------------------------


def graph(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> dict[str, Any]:
    """A graph as `write_file` takes it."""
    return {"type": "NIRGraph", "nodes": nodes, "edges": edges}


def write_file(path: Path, node: dict[str, Any]) -> Path:
    """Write a NIR file with h5py. Groups are dicts."""
    h5py = peer("h5py")

    def write(group: Any, tree: dict[str, Any]) -> None:
        for key, value in tree.items():
            if isinstance(value, dict):
                write(group.create_group(key), value)
            elif isinstance(value, str):
                group.create_dataset(key, data=value, dtype=h5py.string_dtype())
            else:
                group.create_dataset(key, data=value)

    with h5py.File(path, "w") as file:
        write(file, {"version": "1.0.8", "node": node})
    return path


# By libraries ------------------------------------------------------------------------------------


class Written(NamedTuple):
    """A file, an input [T, N, ...], and what every layer of neurons gave, [T, N, ...].

    potential: of an integrator at the end, after the last step; None without one.
    """

    path: Path
    x: Tensor
    spikes: list[Tensor]
    potential: Tensor | None = None


def inputs(*sides: int) -> Tensor:
    return (torch.rand(STEPS, SAMPLES, *sides) < 0.4).double()


def watched(module: nn.Module, *kinds: type) -> list[Tensor]:
    """Outputs of the neurons of a module in the order that they are called in."""
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        output = output[0] if isinstance(output, tuple) else output
        seen.append(output.detach().clone())

    for part in module.modules():
        if isinstance(part, kinds):
            part.register_forward_hook(keep)
    return seen


def by_layer(seen: list[Tensor]) -> list[Tensor]:
    """[T, N, ...] of every layer, of what was seen step by step."""
    layers = len(seen) // STEPS
    return [torch.stack(seen[layer::layers]) for layer in range(layers)]


def stronger(module: nn.Module, factor: float = 3.0) -> nn.Module:
    """A module in float64, with larger weights, so that neurons spike.

    The spikes of snnTorch and Sinabs are float32 all the same, so layers convert them.
    """
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Linear | nn.Conv2d):
                part.weight *= factor
                part.register_forward_pre_hook(lambda _, given: (given[0].double(),))
    return module.double()


def save(graph: Any, path: Path, *, infer: bool = False) -> None:
    """Write a graph. Without compression, as the library cannot compress single numbers."""
    nir = peer("nir")
    if infer:
        graph.infer_types()
    nir.write(path, graph, compression=None)


def snntorch_dense(folder: Path, **leaky: Any) -> Written:
    snn, export = peer("snntorch"), peer("snntorch.export_nir")
    full, threshold = torch.full, torch.linspace(0.5, 2.0, 9)
    net = nn.Sequential(
        nn.Linear(12, 9), snn.Leaky(beta=full((9,), 0.75), threshold=threshold, init_hidden=True,
                                    **leaky),
        nn.Linear(9, 8, bias=False),
        snn.Leaky(beta=full((8,), 1.0), threshold=full((8,), 1.0), init_hidden=True, **leaky),
        nn.Linear(8, 5), snn.Leaky(beta=full((5,), 0.9, dtype=torch.float64),
                                   threshold=full((5,), 0.5), init_hidden=True, output=True,
                                   **leaky))
    return _snntorch(stronger(net), inputs(12), folder, snn, export)


def snntorch_convolutional(folder: Path) -> Written:
    snn, export = peer("snntorch"), peer("snntorch.export_nir")
    full = torch.full
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=(1, 0), stride=(1, 2)),
        snn.Leaky(beta=full((4, 8, 4), 0.5), threshold=full((4, 8, 4), 1.0), init_hidden=True),
        nn.AvgPool2d((2, 1)), nn.Flatten(), nn.Linear(64, 5),
        snn.Leaky(beta=full((5,), 0.875), threshold=full((5,), 0.5), init_hidden=True,
                  output=True))
    return _snntorch(stronger(net), inputs(2, 8, 10), folder, snn, export)


def _snntorch(net: nn.Module, x: Tensor, folder: Path, snn: Any, export: Any) -> Written:
    with np.errstate(divide="ignore"):
        save(export.export_to_nir(net, x[0, :1], ignore_dims=[0]), folder / "net.nir")
    peer("snntorch.utils").reset(net)
    seen = watched(net, snn.Leaky)
    for step in x:
        net(step)
    return Written(folder / "net.nir", x, by_layer(seen))


def spikingjelly(folder: Path, v_reset: float = -0.25) -> Written:
    base = "spikingjelly.activation_based"
    neuron, layer, functional = (peer(f"{base}.{name}") for name in
                                 ("neuron", "layer", "functional"))
    export = peer(f"{base}.nir_exchange")
    net = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1, dilation=2), neuron.LIFNode(tau=2.0, v_reset=v_reset),
        layer.AvgPool2d(2), layer.Flatten(), layer.Linear(36, 9),
        neuron.LIFNode(tau=4.0, decay_input=False), layer.Linear(9, 7, bias=False),
        neuron.ParametricLIFNode(init_tau=2.0), layer.Linear(7, 5),
        neuron.IFNode(v_threshold=0.75, v_reset=-v_reset))
    net, x = stronger(net, 6.0), inputs(2, 8, 8)
    save(export.export_to_nir(net, x[0, :1]), folder / "net.nir")
    functional.reset_net(net)
    seen = watched(net, neuron.BaseNode)
    with torch.no_grad():
        for step in x:
            net(step)
    return Written(folder / "net.nir", x, by_layer(seen))


def norse(folder: Path) -> Written:
    library = peer("norse.torch")
    of = torch.float64
    box = library.LIFBoxParameters(tau_mem_inv=torch.tensor(125.0, dtype=of),
                                   v_leak=torch.tensor(0.125, dtype=of))
    leak = library.LIBoxParameters(tau_mem_inv=torch.tensor(250.0, dtype=of))
    cells = (library.LIFBoxCell(p=box), library.IAFCell(), library.LIBoxCell(p=leak))
    net = library.SequentialState(nn.Linear(12, 9), cells[0], nn.Linear(9, 8), cells[1],
                                  nn.Linear(8, 5), cells[2])
    net, x = stronger(net, 6.0), inputs(12)
    save(library.to_nir(net, x[0, :1]), folder / "net.nir")
    seen = watched(net, *map(type, cells))
    state, answer = None, None
    with torch.no_grad():
        for step in x:
            answer, state = net(step, state)
    return Written(folder / "net.nir", x, by_layer(seen)[:2], answer)


def sinabs_convolutional(folder: Path, spike: str = "SingleSpike", factor: float = 3.0) -> Written:
    layers, activation = peer("sinabs.layers"), peer("sinabs.activation")
    options = {"batch_size": SAMPLES, "spike_fn": getattr(activation, spike)}
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False), layers.IAFSqueeze(**options),
        layers.SumPool2d(2), nn.Flatten(), nn.Linear(64, 7), layers.IAFSqueeze(**options),
        nn.Linear(7, 5), layers.IAFSqueeze(**options))
    return _sinabs(stronger(net, factor), inputs(2, 8, 8), folder, layers, infer=True)


def sinabs_dense(folder: Path) -> Written:
    layers, activation = peer("sinabs.layers"), peer("sinabs.activation")
    options = {"batch_size": SAMPLES, "spike_fn": activation.SingleSpike}
    net = nn.Sequential(nn.Linear(12, 9), layers.LIFSqueeze(tau_mem=8.0, **options),
                        nn.Linear(9, 5), layers.LIFSqueeze(tau_mem=4.0, **options))
    return _sinabs(stronger(net, 20.0), inputs(12), folder, layers, infer=False)


def _sinabs(net: nn.Module, x: Tensor, folder: Path, layers: Any, *, infer: bool) -> Written:
    """Sinabs takes samples and time in one axis, time running faster."""
    flat = x.transpose(0, 1).reshape(-1, *x.shape[2:])
    graph = peer("sinabs.nir").to_nir(net, flat)
    save(graph, folder / "net.nir", infer=infer)
    for part in net.modules():
        if isinstance(part, layers.LIF):
            part.reset_states()
    seen = watched(net, layers.LIF)
    with torch.no_grad():
        net(flat)
    return Written(folder / "net.nir", x, [
        spikes.reshape(SAMPLES, STEPS, *spikes.shape[1:]).transpose(0, 1) for spikes in seen])


#: Name -> (writes a file, the options that it is imported with).
WRITTEN: dict[str, tuple[Callable[[Path], Written], dict[str, Any]]] = {
    "snnTorch, dense": (snntorch_dense, {"writer": "snntorch"}),
    "snnTorch, convolutional": (snntorch_convolutional, {"writer": "snntorch"}),
    "snnTorch, zero": (lambda folder: snntorch_dense(folder, reset_mechanism="zero"),
                       {"writer": "snntorch", "reset": "zero"}),
    "snnTorch, none of the options alone": (
        snntorch_dense, {"reset": "subtract-delayed", "fires": "above"}),
    "SpikingJelly": (spikingjelly, {"writer": "spikingjelly"}),
    "SpikingJelly, said": (
        lambda folder: spikingjelly(folder, 0.0),
        {"dt": 1e-4, "solver": "euler", "reset": "zero", "fires": "at"}),
    "Norse": (norse, {"writer": "norse"}),
    "Sinabs, convolutional": (sinabs_convolutional, {"writer": "sinabs"}),
    "Sinabs, IAF without a writer": (sinabs_convolutional, {"reset": "subtract", "fires": "at"}),
    "Sinabs, several spikes allowed": (
        lambda folder: sinabs_convolutional(folder, "MultiSpike", 0.5), {"writer": "sinabs"}),
    "Sinabs, LIF": (sinabs_dense, {"writer": "sinabs"}),
}
