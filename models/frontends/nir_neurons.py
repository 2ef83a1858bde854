"""Neurons of NIR files as maps of the array.

NIR states differential equations. A file says neither the time step, nor how the equations are
solved, nor, since all libraries write the same nodes, what a spike does:

    tau v' = v_leak - v + r I   (LIF, LI),      v' = r I   (IF, I),      a spike where v > threshold

| solver | v after a time step dt |
|---|---|
| euler | v + k (v_leak - v + r I), k = dt / tau |
| exact | v b + (1 - b) (v_leak + r I), b = exp(-dt / tau) |

| reset | after a spike |
|---|---|
| zero | v = v_reset, 0 where the file has none |
| subtract | v - threshold, at once |
| subtract-delayed | v - threshold, in the next time step after the leak |

What is not known is asked for. It is known from an option, from the metadata `dt`, `solver`,
`reset`, `fires`, `writer` of the node or a graph around it, from the library that wrote the file
(`WRITERS`), or because it speaks for itself: r = tau / 1e-4 is Euler with dt = 1e-4, as nobody
else divides by that; r = 1e4 of an IF says dt = 1e-4 and r = 1 that a time step is the unit of
time; a v_reset that is not 0 is loaded, not subtracted. A v_reset of 0 says nothing: the library
`nir` writes it where its user gave none.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import numpy as np

from quadfire.models.frontends.mapped import MappedNeuron
from quadfire.models.frontends.nir_file import NirNode
from quadfire.models.frontends.nir_options import HELP, Fires, Reset, Solver, Writer
from quadfire.models.frontends.nir_values import (
    Unmapped,
    channel_value,
    common,
    near,
    per_channel,
    told,
)
from quadfire.models.neurons.canonical import canonical_linear

__all__ = ["HELP", "WRITERS", "Dynamics", "Fires", "Reset", "Solver", "Writer", "map_neuron"]

#: The time step that snnTorch and SpikingJelly write with, in seconds.
_DT = 1e-4

@dataclass(frozen=True, kw_only=True)
class Dynamics:
    """What a file does not say of its neurons; None where it is not known. See `HELP`.

    Raises ValueError for a value that is none of the possible ones.
    """

    dt: float | None = None
    solver: Solver | None = None
    reset: Reset | None = None
    fires: Fires | None = None
    writer: Writer | None = None

    def __post_init__(self):
        dt: Any = self.dt
        if dt is not None and not (isinstance(dt, int | float) and 0 < dt < math.inf):
            raise ValueError(f"dt must be above 0, not {dt!r}")
        for name, kind in (("solver", Solver), ("reset", Reset), ("fires", Fires),
                           ("writer", Writer)):
            if getattr(self, name) not in (None, *get_args(kind)):
                raise ValueError(f"{name} must be {', '.join(get_args(kind)[:-1])} or "
                                 f"{get_args(kind)[-1]}, not {getattr(self, name)!r}")

    def beside(self, others: Mapping[str, Any]) -> "Dynamics":
        """With what others, such as metadata, say of all that is not known. Raises ValueError."""
        return replace(self, **{
            field.name: others[field.name] for field in fields(self)
            if getattr(self, field.name) is None and others.get(field.name) is not None})


@dataclass(frozen=True, kw_only=True)
class _Writer:
    """What a library stands for.

    | field | meaning |
    |---|---|
    | label | its name |
    | known | what its neurons do by default |
    | kinds | the neurons that it writes |
    | gains | of a current in its neurons: "1", or "1-b", the share that the potential loses |
    | start | the parameter that is the potential before the first step; 0 where a node has none |
    | lost | what the file does not tell, so that it must be as the library makes it by default |
    """

    label: str
    known: Dynamics
    kinds: tuple[str, ...]
    gains: tuple[str, ...]
    start: str = ""
    lost: str = ""


#: Where the libraries spike, or subtract, twice in one time step.
_TWICE = {"snntorch": "is above", "sinabs": "reaches"}
#: The libraries that write NIR files, as of snnTorch 1.0, SpikingJelly 2.0, Norse 1.1, Sinabs 3.1.
WRITERS: dict[str, _Writer] = {
    "snntorch": _Writer(
        label="snnTorch", kinds=("LIF",), gains=("1",), lost="reset_mechanism, reset_delay",
        known=Dynamics(dt=_DT, solver="euler", reset="subtract-delayed", fires="above")),
    "spikingjelly": _Writer(
        label="SpikingJelly", kinds=("IF", "LIF"), gains=("1", "1-b"), start="v_reset",
        known=Dynamics(dt=_DT, solver="euler", reset="zero", fires="at")),
    "norse": _Writer(
        label="Norse", kinds=("IF", "LIF", "LI"), gains=("1-b",), start="v_leak",
        lost="v_reset, reset_method, dt",
        known=Dynamics(dt=1e-3, solver="euler", reset="zero", fires="above")),
    "sinabs": _Writer(
        label="Sinabs", kinds=("IF", "LIF", "LI"), gains=("1-b",),
        lost="norm_input, tau_syn, min_v_mem, reset_fn",
        known=Dynamics(dt=1.0, solver="exact", reset="subtract", fires="at")),
    "rockpool": _Writer(
        label="Rockpool", kinds=("LI",), gains=("b",), known=Dynamics(solver="exact")),
    "lava": _Writer(
        label="Lava", kinds=("LIF",), gains=("1", "1-b"),
        known=Dynamics(dt=_DT, solver="euler", reset="zero", fires="above")),
}


# The equation in time steps ----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Step:
    """v becomes decay v + gain I + offset. told: how it came about, for people."""

    decay: float
    gain: np.ndarray
    offset: np.ndarray
    told: str


def _integrator(p: Mapping[str, np.ndarray], known: Dynamics) -> _Step:
    """One step of v' = r I."""
    r, dt = p["r"], known.dt
    if known.writer == "norse":
        dt = 1.0                            # Norse adds the current, whatever its dt
    elif dt is None:
        dt = _DT if near(r, 1 / _DT) else 1.0 if near(r, 1.0) else None
    if dt is None:
        raise Unmapped(f"r = {told(r)}: dt is not known: say --dt, or --writer and the library "
                       "that wrote the file")
    return _Step(decay=1.0, gain=r * dt, offset=0 * r, told=f"dt = {dt:g}")


def _leaky(kind: str, p: Mapping[str, np.ndarray], known: Dynamics) -> _Step:
    """One step of tau v' = v_leak - v + r I."""
    tau, r = common("tau", p["tau"]), p["r"]
    if tau <= 0:
        raise Unmapped(f"tau must be above 0, not {tau:g}")
    if math.isinf(tau):
        if not np.isinf(r).all():
            raise Unmapped(f"tau is infinite with r = {told(r)}: a current has no effect on it")
        return _Step(decay=1.0, gain=np.ones(len(r)), offset=np.zeros(len(r)), told="no leak")
    if np.isinf(r).any():
        raise Unmapped(f"r is infinite with tau = {tau:g}")
    dt, solver = _time_step(tau, r, known)
    k = dt / tau
    if k > (1 if solver == "euler" else 10):
        raise Unmapped(f"dt = {dt:g} is too long for tau = {tau:.6g}: nothing is left of a "
                       "potential after one step; say the --dt and --solver of the training")
    decay = 1 - k if solver == "euler" else math.exp(-k)
    gain = r * (k if known.writer == "rockpool" else 1 - decay)
    if kind == "LI" and known.writer == "sinabs":
        gain = r                            # unlike its LIF, its ExpLeak does not norm by default
    return _Step(decay=decay, gain=gain, offset=(1 - decay) * p["v_leak"],
                 told=f"dt = {dt:g}, {solver}")


def _time_step(tau: float, r: np.ndarray, known: Dynamics) -> tuple[float, Solver]:
    """(dt, solver) of a leaky neuron. Raises Unmapped with all that is not known."""
    dt, solver = known.dt, known.solver
    if dt is not None and known.writer == "norse":
        dt *= dt                            # it writes dt / tau_mem_inv, a time by a factor dt
    if known.writer == "rockpool" and dt is None:
        steps = common("r", r) + 1         # r = n exp(-1/n), n = tau / dt; Newton's method
        for _ in range(50):
            shrunk = steps * math.exp(-1 / steps)
            steps += (float(r[0]) - shrunk) / (shrunk * (1 + 1 / steps) / steps)
        dt = tau / steps
    if near(r, tau / _DT):
        dt = _DT if dt is None else dt
        solver = solver or ("euler" if dt == _DT else None)
    unknown = []
    if dt is None:
        hint = "norse" if tau < _DT else "spikingjelly" if tau < 0.5 else "sinabs"
        unknown.append(f"tau = {tau:.6g} with r = {told(r)}: dt is not known: say --dt; if "
                       f"{WRITERS[hint].label} wrote it, use --writer {hint}")
    if solver is None:
        unknown.append("how it was solved is not known: say --solver euler or exact")
    if dt is None or solver is None:
        raise Unmapped(*unknown)
    return dt, solver


def _check_writer(node: NirNode, step: _Step, known: Dynamics) -> None:
    """Raise Unmapped where that library never writes such a neuron."""
    if known.writer is None:
        return
    writer = WRITERS[known.writer]
    if node.kind not in writer.kinds and node.kind != "Threshold":
        raise Unmapped(f"{writer.label} writes no {node.kind}: another --writer wrote the file")
    gains = {"1": 1.0, "1-b": 1 - step.decay, "b": step.decay}
    allowed = [gains[name] for name in writer.gains]
    if node.kind in ("IF", "Threshold") or node.kind == "LI" and known.writer == "sinabs":
        allowed = [1.0]
    if not any(near(step.gain, gain) for gain in allowed):
        raise Unmapped(f"{step.told} gives its current a gain of {told(step.gain)}, as no neuron "
                       f"of {writer.label} has: another --writer wrote the file, or another --dt")


# Neurons -----------------------------------------------------------------------------------------


def map_neuron(node: NirNode, shape: tuple[int, ...], channels: int,
               options: Dynamics) -> MappedNeuron:
    """A neuron of a map of this shape, of so many channels, in canonical form.

    options: what was said of the file; it counts more than metadata. Raises Unmapped with every
    reason why not.
    """
    try:
        known = options.beside(node.metadata)
    except ValueError as error:
        raise Unmapped(f"metadata: {error}") from None
    writer = None if known.writer is None else WRITERS[known.writer]
    if writer is not None:
        known = known.beside(vars(writer.known))
    p = {name: per_channel(name, array, shape, channels) for name, array in node.values.items()
         if isinstance(array, np.ndarray)}
    if node.kind == "Threshold":
        return _threshold(p["threshold"], known)
    reasons: list[str] = []
    step = None
    try:
        step = _integrator(p, known) if "tau" not in p else _leaky(node.kind, p, known)
        _check_writer(node, step, known)
    except Unmapped as error:
        reasons += error.args
    reset = _reset(p, known, step, reasons) if "v_threshold" in p else None
    if step is None or reasons:
        raise Unmapped(*reasons)
    text = f"{node.kind}({', '.join(f'{name}={told(p[name])}' for name in p)}), {step.told}"
    if "tau" not in p and not near(step.gain, 1.0):
        text += f", a current counts {told(step.gain)}"
    start = p.get(writer.start if writer else "", np.zeros(channels))
    linear: dict[str, Any] = {
        "decay": step.decay, "gain": channel_value(step.gain),
        "offset": channel_value(step.offset), "initial": channel_value(start)}
    try:
        if reset is None:
            return MappedNeuron(form=canonical_linear(threshold=1.0, **linear), text=text,
                                condition=_condition(known.writer, None), spiking=False)
        loads = None if reset != "zero" else p.get("v_reset", np.zeros(channels))
        delta = p["v_threshold"] / step.decay if reset == "subtract-delayed" else None
        form = canonical_linear(
            threshold=channel_value(p["v_threshold"]), reset=channel_value(loads),
            delta=channel_value(delta), strict=known.fires == "above", **linear)
    except ValueError as error:
        raise Unmapped(str(error)) from None
    after = reset if loads is None else f"reset to {told(loads)}"
    return MappedNeuron(
        form=form, text=f"{text}, {after}, fires {known.fires} its threshold",
        condition=_condition(known.writer, reset),
        membrane_delta=0.0 if delta is None else form.delta,
        window=float(np.abs(p["v_threshold"] - (0.0 if loads is None else loads)).mean()))


def _reset(p: Mapping[str, np.ndarray], known: Dynamics, step: _Step | None,
           reasons: list[str]) -> Reset | None:
    """What a spike does. Adds to the reasons all that is not known of spikes, or cannot be."""
    reset, loads = known.reset, p.get("v_reset")
    if loads is not None and loads.any():
        if reset not in (None, "zero"):
            reasons.append(f"v_reset = {told(loads)} is what a spike loads: it is no reset that "
                           f"would {reset.replace('-', ', ')}")
        reset = "zero"
    if reset is None:
        reasons.append(("has no v_reset (written before NIR 1.0.6)" if loads is None else
                        "v_reset = 0 is written for resets of all kinds") +
                       ": say --reset zero, subtract or subtract-delayed")
    if known.fires is None:
        reasons.append("whether it fires at its threshold is not known: say --fires above or at")
    if step is not None and step.decay == 0 and reset == "subtract-delayed":
        reasons.append("keeps nothing of a potential, so that nothing is left to subtract from in "
                       "the next step: say --reset subtract, or train with a decay above 0")
    return reset


def _condition(writer: str | None, reset: Reset | None) -> str:
    """While what the spikes are those of the library that wrote the file."""
    if reset == "subtract" and writer in ("snntorch", "sinabs"):
        return f"while no potential {_TWICE[writer]} two thresholds"
    return ""


def _threshold(threshold: np.ndarray, known: Dynamics) -> MappedNeuron:
    """A spike where I > threshold, without memory: NIR's own comparison, unless told otherwise."""
    rest = np.where(threshold > 0, 0.0, threshold - np.maximum(np.abs(threshold), 1.0))
    fires = known.fires or "above"
    form = canonical_linear(
        decay=0.0, threshold=channel_value(threshold), reset=channel_value(rest),
        initial=channel_value(rest), strict=fires == "above")
    return MappedNeuron(
        form=form, text=f"Threshold(threshold={told(threshold)}), fires {fires} its threshold",
        window=float((threshold - rest).mean()))
