"""What a NIR file does not say of its neurons: options and their help, without torch."""

from typing import Literal

__all__ = ["HELP", "Fires", "Reset", "Solver", "Writer"]

Solver = Literal["euler", "exact"]
Reset = Literal["zero", "subtract", "subtract-delayed"]
Fires = Literal["above", "at"]
Writer = Literal["snntorch", "spikingjelly", "norse", "sinabs", "rockpool", "lava"]

#: Help of the options of the command line.
HELP = {
    "dt": "NIR: the time step, in the unit of the file's time constants (seconds, or steps).",
    "solver": "NIR: how the neurons' equations were solved in training.",
    "reset": "NIR: what a spike does to the potential: load v_reset (zero where the file has "
             "none), or subtract the threshold, at once or in the next time step.",
    "fires": "NIR: whether a neuron fires above its threshold only, or at it as well.",
    "writer": "NIR: the library that wrote the file, with what it stands for: dt, solver, reset "
              "and comparison. Options beside it count more.",
}
