"""How inputs get their time axis, and which are refused."""

import pytest
import torch

from quadfire.models.integer.encoding import present


def test_present_gives_a_time_axis():
    pixels = torch.randint(256, (3, 5), dtype=torch.uint8)
    assert torch.equal(present(pixels, inputs=5, steps=4, input_bits=8), pixels[None])
    spikes = torch.rand(4, 3, 5) < 0.5
    assert present(spikes, inputs=5, steps=4, input_bits=0) is spikes


def test_present_takes_an_empty_batch():
    empty = torch.zeros(0, 5, dtype=torch.uint8)
    assert present(empty, inputs=5, steps=4, input_bits=8).shape == (1, 0, 5)


@pytest.mark.parametrize(("x", "bits", "error", "message"), [
    (torch.zeros(3, 5), 8, TypeError, "inputs must be uint8, not torch.float32"),
    (torch.zeros(3, 5, dtype=torch.bool), 8, TypeError, "must be uint8, not torch.bool"),
    (torch.zeros(4, 3, 5), 0, TypeError, "must be uint8 or bool"),
    (torch.zeros(3, 6, dtype=torch.uint8), 8, ValueError, r"shape \[N, 5\], not \[3, 6\]"),
    (torch.zeros(5, dtype=torch.uint8), 8, ValueError, r"shape \[N, 5\], not \[5\]"),
    (torch.zeros(3, 3, 5, dtype=torch.uint8), 0, ValueError, r"shape \[4, N, 5\], not \[3, 3, 5\]"),
    (torch.full((3, 5), 8, dtype=torch.uint8), 3, ValueError, "inputs must be below 8, not 8"),
    (torch.full((4, 3, 5), 2, dtype=torch.uint8), 0, ValueError, "inputs must be below 2, not 2"),
])
def test_present_refuses(x, bits, error, message):
    with pytest.raises(error, match=message):
        present(x, inputs=5, steps=4, input_bits=bits)
