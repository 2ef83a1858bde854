"""The fused neuron in Triton, interpreted on a CPU, against plain PyTorch."""

import os
import subprocess
import sys

from tests.models.frontends.peers import peer

CASES = [("rectangular", 0.0, None, False, (2, 11, 3, 5), 3, True, 1),
         ("triangular", None, None, False, (2, 40, 5), 3, True, 2),
         ("sigmoid", -0.1, (-1.0, 1.2), False, (3, 9), 1, True, 1),
         ("arctan", None, (-1.0, 1.2), True, (2, 9), 3, False, 1),
         ("rectangular", 0.2, None, True, (2, 33, 9), 1, False, 2)]


def test_triton_is_the_reference():
    """In a process of its own, as Triton decides on import whether it interprets."""
    peer("triton")
    done = subprocess.run([sys.executable, "-m", "tests.models.kernels.test_triton"],
                          env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["equal"] * 2 * len(CASES)


if __name__ == "__main__":
    from quadfire.models.kernels import neuron, triton_neuron

    from tests.models.kernels.test_kernels import check_fused

    neuron._way = lambda x: triton_neuron
    for case in CASES:
        for begun in (False, True):
            check_fused(*case, begun)
            print("equal")
