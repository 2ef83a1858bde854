"""A SpikingJelly script: trains a small convolutional network on scikit-learn's 8 x 8 digits.

    python models/examples/spikingjelly_digits.py

writes build/digits.pt, a state dict, and build/digits.npz, the held-out digits. Nothing in it knows
of Quadfire. `quadfire import models/examples/spikingjelly_digits.py:make_network` takes it from
there: the README shows how.
"""

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

STEPS = 8
HELD_OUT = 297


class DigitNet(nn.Module):
    """Convolution, pool, dense layer; the picture is shown in every one of 8 time steps."""

    def __init__(self):
        super().__init__()
        self.conv = layer.Conv2d(1, 16, 3, padding=1, bias=False)
        self.norm = layer.BatchNorm2d(16)
        self.lif1 = neuron.LIFNode(tau=2.0, detach_reset=True)
        self.pool = layer.MaxPool2d(2)
        self.flatten = layer.Flatten()
        self.dense = layer.Linear(16 * 4 * 4, 10)
        self.lif2 = neuron.LIFNode(tau=2.0, detach_reset=True)
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        """Spike rates [N, 10] of pictures [N, 1, 8, 8] in 0..1."""
        x = x.unsqueeze(0).repeat(STEPS, 1, 1, 1, 1)
        x = self.pool(self.lif1(self.norm(self.conv(x))))
        return self.lif2(self.dense(self.flatten(x))).mean(0)


def make_network() -> nn.Module:
    """The network, not trained."""
    return DigitNet()


def digits() -> tuple[Tensor, Tensor]:
    """(pictures [1797, 1, 8, 8] in steps of 1/255, labels)."""
    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images * 255 / 16).reshape(-1, 1, 8, 8)
    return torch.tensor(pixels / 255, dtype=torch.float32), torch.tensor(labels)


def main() -> None:
    """Train, and write weights and held-out digits."""
    torch.manual_seed(0)
    torch.set_num_threads(1)        # a small network: threads would wait for each other
    x, y = digits()
    net = make_network()
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for epoch in range(1, 9):
        net.train()
        for index in torch.randperm(len(x) - HELD_OUT).split(64):
            loss = nn.functional.cross_entropy(10 * net(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            functional.reset_net(net)
        net.eval()
        with torch.no_grad():
            right = (net(x[-HELD_OUT:]).argmax(1) == y[-HELD_OUT:]).double().mean().item()
        functional.reset_net(net)
        print(f"epoch {epoch}: {right:.2%} of {HELD_OUT} held-out digits are right")
    Path("build").mkdir(exist_ok=True)
    torch.save(net.state_dict(), "build/digits.pt")
    np.savez("build/digits.npz", x=x[-HELD_OUT:].numpy(), y=y[-HELD_OUT:].numpy())
    print("wrote build/digits.pt and build/digits.npz")


if __name__ == "__main__":
    main()
