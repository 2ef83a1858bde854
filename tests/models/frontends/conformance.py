"""Neurons of other libraries against the canonical form that `read` makes of them, spike by spike.

A row is a neuron with its settings. The form is run in float64, on currents that are chosen step by
step, so that the potential lands on multiples of 1/64 of the threshold, a tenth of them at it. Then
the library's module gets the same currents, through its own forward. All constants are dyadic, so
that neither side rounds.

`python -m tests.models.frontends.conformance` writes them to models/frontends/CONFORMANCE.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import nn

from quadfire.models.frontends.mapped import MappedNeuron
from quadfire.models.frontends.neurons import call_form, read
from quadfire.models.neurons.canonical import Canonical

__all__ = ["BATCH", "CHANNELS", "DOCUMENT", "LIBRARIES", "STEPS", "Result", "Row", "compare",
           "drive", "render", "run_library"]

DOCUMENT = Path(__file__).parents[3] / "models" / "frontends" / "CONFORMANCE.md"

#: 102,400 time steps of a neuron in a row.
STEPS, BATCH, CHANNELS = 100, 128, 8


@dataclass(frozen=True)
class Row:
    """A neuron of a library. `top`: the highest potential that it is driven to, in thresholds."""

    library: str
    make: Callable[[], nn.Module]
    top: float = 3.0
    name: str = ""


@dataclass(frozen=True)
class Result:
    """What a row gave: time steps, those at the threshold, and those where the spikes differ.

    Without spikes, those where the potentials differ. `potential`: the largest difference of the
    potentials after a step, as far as the module shows them.
    """

    row: Row
    neuron: MappedNeuron
    steps: int
    at_threshold: int
    spikes: int
    mismatches: int
    potential: float


def compare(row: Row, *, top: float | None = None, ties: bool = True) -> Result:
    """Run a row. top: instead of its own; ties: see `drive`."""
    module = row.make().double().eval()
    neuron = read(module, (CHANNELS,))
    form = exact(neuron.form)
    ran = drive(form, top=row.top if top is None else top, spiking=neuron.spiking, ties=ties,
                seed=crc32(f"{neuron.text} {row.name}".encode()))
    spikes, potentials, last = run_library(module, torch.from_numpy(ran.currents))
    if neuron.spiking:
        wrong = spikes != ran.spikes * np.asarray(neuron.spike_value)
    else:
        wrong, potentials = spikes != ran.potentials, spikes
    return Result(row, neuron, spikes.size, ran.at_threshold, int(ran.spikes.sum()),
                  int(wrong.sum()), _difference(neuron, ran, potentials, last))


def exact(form: Canonical) -> Canonical:
    """The form in units of u, rounded to 2^-40, where it is linear with one scale.

    There all constants of the rows are dyadic; w = u T / threshold need not be.
    """
    if form.factor is None or isinstance(form.scale, tuple):
        return form
    form = form.rescaled(1 / form.scale)

    def snap(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(snap, value))
        return round(value * 2.0 ** 40) / 2.0 ** 40 if np.isfinite(value) else value

    return replace(form, **{name: snap(getattr(form, name)) for name in (
        "scale", "gain", "offset", "factor", "theta", "initial", "reset", "delta", "lo", "hi")})


@dataclass(frozen=True)
class Run:
    """A run of the form, [step, sample, channel]: potentials are those after the reset, w."""

    currents: np.ndarray
    spikes: np.ndarray
    states: np.ndarray
    potentials: np.ndarray
    at_threshold: int


def drive(form: Canonical, *, top: float, spiking: bool = True, ties: bool = True,
          seed: int = 0) -> Run:
    """Run the form on currents that put the potential where it decides.

    Of the steps, an eighth land at the threshold, an eighth right above and below it, the others
    anywhere from -1 to `top` thresholds. Without `ties` all of them land anywhere.
    """
    rng = np.random.default_rng(seed)
    shape = (BATCH, CHANNELS)
    scale, center, gain, offset = (np.broadcast_to(np.asarray(value, float), shape) for value in (
        form.scale, form.center, form.gain, form.offset))
    grid = scale / 64 if form.factor is None else np.full(shape, abs(form.theta) / 64)
    w = np.full(shape, form.initial)
    found: dict[str, list[np.ndarray]] = {"currents": [], "spikes": [], "states": []}
    at = 0
    for _ in range(STEPS):
        sort = rng.random(shape)
        away = rng.integers(-128, round(64 * (top - 1)) + 1, shape)
        away = np.where(sort < 1 / 8, 0, np.where(sort < 1 / 4, rng.choice([-1, 1], shape), away))
        away = np.minimum(away, round(64 * (top - 1)))
        if not ties:
            away = rng.uniform(-128, 64 * (top - 1), shape)
        factor = w if form.factor is None else form.factor
        current = (form.theta + away * grid - w * factor - offset) / gain
        v = w * factor + (gain * current + offset)
        at += int((v == form.theta).sum())
        v = np.clip(v, form.lo, form.hi)
        s = (v > form.theta if form.strict else v >= form.theta) & spiking
        w = np.where(s, v - form.delta if form.soft else form.reset, v)
        for name, value in (("currents", current), ("spikes", s), ("states", w)):
            found[name].append(value)
    stacked = {name: np.stack(value) for name, value in found.items()}
    return Run(**stacked, potentials=stacked["states"] / scale + center, at_threshold=at)


def run_library(module: nn.Module, currents: torch.Tensor) -> tuple[
        np.ndarray, np.ndarray | None, np.ndarray | None]:
    """(results, potentials after each step, last potential) of a module, as it is called.

    currents: [step, sample, channel]. A module that does not show its potentials gives None.
    """
    form, steps = call_form(module), len(currents)
    with torch.no_grad():
        if form.time == "step":
            results, potentials, state = [], [], ()
            for current in currents:
                given = module(current, *state)
                # Norse keeps nothing in the module; the others do.
                state = given[1:] if form.states and hasattr(given[1], "v") else ()
                results.append(given[0] if isinstance(given, tuple) else given)
                if form.membrane is not None and isinstance(given, tuple):
                    shown = given[form.membrane]
                    potentials.append(getattr(shown, "v", shown))
            out, seen = torch.stack(results), torch.stack(potentials) if potentials else None
        else:
            x = currents if form.layout == "TN" else currents.transpose(0, 1)
            given = module(x.flatten(0, 1) if form.layout == "(NT)" else x)
            out = given[0] if isinstance(given, tuple) else given
            out = torch.stack(out) if isinstance(out, list) else out
            out = out.reshape(x.shape[:2] + out.shape[-1:])
            out, seen = out if form.layout == "TN" else out.transpose(0, 1), None
    assert out.shape == currents.shape and len(out) == steps
    last = getattr(module, "v_mem", getattr(module, "v", None))
    return out.double().numpy(), None if seen is None else seen.double().numpy(), \
        last.double().numpy() if isinstance(last, torch.Tensor) else None


def _difference(neuron: MappedNeuron, ran: Run, potentials: np.ndarray | None,
                last: np.ndarray | None) -> float:
    """The largest difference between the library's potentials and the form's."""
    if neuron.membrane_delta is None:
        return 0.0
    ours = ran.potentials + ran.spikes * (neuron.membrane_delta / np.asarray(neuron.form.scale))
    differences = [0.0]
    if potentials is not None:
        differences.append(float(np.abs(potentials - ours).max()))
    if last is not None and last.shape == ours[-1].shape:
        differences.append(float(np.abs(last - ours[-1]).max()))
    return max(differences)


# The table ----------------------------------------------------------------------------------------

_HEAD = """# Conformance

Every neuron that can be imported, compared with its library. The library's own module and the
canonical form that [`neurons/`](neurons) makes of it get the same currents, in float64; an eighth
of all time steps land exactly at the threshold. Written by
`python -m tests.models.frontends.conformance`; a test says when it is stale.

{versions}. *At* fires at the threshold, *above* only above it.
"""


#: Distribution -> name.
LIBRARIES = {"snntorch": "snnTorch", "spikingjelly": "SpikingJelly", "norse": "Norse",
             "sinabs": "Sinabs"}


def render(results: list[Result], refused: list[tuple[str, str, str]]) -> str:
    """The document. refused: (library, neuron, message)."""
    versions = ", ".join(f"{name} {version(key)}" for key, name in LIBRARIES.items())
    lines = [_HEAD.format(versions=versions)]
    for key, name in LIBRARIES.items():
        mine = [result for result in results if result.row.library == key]
        lines += [f"## {name}", "", "| neuron | fires | same | time steps | at the threshold | "
                  "spikes | differ |", "|---|---|---|--:|--:|--:|--:|"]
        lines += [_line(result) for result in mine]
        lines += ["", "Refused:", ""]
        lines += [f"- {message}" if neuron in message else f"- {neuron}: {message}"
                  for library, neuron, message in refused if library == key]
        lines.append("")
    total, at = sum(r.steps for r in results), sum(r.at_threshold for r in results)
    lines += [f"In all {len(results)} settings and {total:,} time steps, {at:,} of them at the "
              f"threshold: {sum(r.mismatches for r in results):,} differ.", ""]
    return "\n".join(lines)


def _line(result: Result) -> str:
    neuron, row = result.neuron, result.row
    fires = "" if not neuron.spiking else "above" if neuron.form.strict else "at"
    same = f"while {neuron.condition}" if neuron.condition else "always"
    text = neuron.text + (f"; {row.name}" if row.name else "")
    at, spikes = (f"{n:,}" if neuron.spiking else "" for n in (result.at_threshold, result.spikes))
    return f"| {text} | {fires} | {same} | {result.steps:,} | {at} | {spikes} | " \
           f"{result.mismatches:,} |"


def main() -> None:
    """Run all rows and write the document."""
    from tests.models.frontends.conformance_rows import REFUSED, ROWS, refusal

    results = [compare(row) for row in ROWS]
    text = render(results, list(map(refusal, REFUSED)))
    DOCUMENT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
