"""What an imported network reads: normalised pixels, spikes, counts; and what it refuses."""

import pytest
import torch
from torch import Tensor, nn

from quadfire.models.frontends import from_module
from quadfire.models.neurons import LIF

MEAN, STD = [0.49, 0.48, 0.45], [0.25, 0.24, 0.26]


class Net(nn.Module):
    """A convolution of pictures shown in four steps."""

    def __init__(self, padding: int, steps: int = 4):
        super().__init__()
        torch.manual_seed(padding)
        self.conv, self.lif = nn.Conv2d(3, 5, 3, padding=padding), LIF(0.75)
        self.fc = nn.Linear(5 * (4 + 2 * padding) ** 2, 4)
        self.steps = steps
        with torch.no_grad():
            self.conv.weight *= 3

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(0).repeat(self.steps, 1, 1, 1, 1)
        s = self.lif(self.conv(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
        return self.fc(s.flatten(2)).mean(0)


def pictures(count: int = 6) -> Tensor:
    """Bytes [N, 3, 6, 6]."""
    return torch.randint(0, 256, (count, 3, 6, 6), generator=torch.Generator().manual_seed(1))


def normalised(pixels: Tensor, mean: list[float], std: list[float]) -> Tensor:
    return (pixels.double() / 255 - torch.tensor(mean).double().view(3, 1, 1)) \
        / torch.tensor(std).double().view(3, 1, 1)


@pytest.mark.parametrize(("padding", "mean", "std"), [
    (0, MEAN, STD), (1, [0.0] * 3, STD), (1, [0.0] * 3, [1.0] * 3)])
def test_mean_and_deviation_go_into_weights_and_bias(padding, mean, std):
    module, pixels = Net(padding), pictures()
    x = normalised(pixels, mean, std)
    network = from_module(module, x[:1], input="pixels", mean=mean, std=std)
    report = network.check(module, x)
    assert report.exact and 0.05 < report.layers[0].rate < 0.9, str(report)
    assert torch.equal(network.inputs(x).long(), pixels)
    with torch.no_grad():
        answers = network.to_grid().eval()
        for layer in answers:
            layer.rounded = False
        torch.testing.assert_close(answers(network.inputs(x)), module.double()(x), atol=1e-6,
                                   rtol=0)


def test_a_mean_behind_a_padded_convolution_is_refused():
    """Padding with 0 after the mean was taken is padding with the mean: a border of its own."""
    with pytest.raises(ValueError, match="layer 'conv': .*shifted .*borders would differ"):
        from_module(Net(1), normalised(pictures(1), MEAN, STD), input="pixels", mean=MEAN, std=STD)


def test_pixels_out_of_range_are_refused():
    network = from_module(Net(0), pictures(1) / 255, input="pixels")
    with pytest.raises(ValueError, match=r"pixels reach -1\.0\.\.199\.0 of 0\.\.255: are --mean"):
        network.inputs((torch.arange(-1, 200).double() / 255)[:108 * 1].reshape(1, 3, 6, 6)
                       .index_put((torch.tensor(0), torch.tensor(2), torch.tensor(5),
                                   torch.tensor(5)), torch.tensor(199 / 255).double()))


@pytest.mark.parametrize(("example", "options", "message"), [
    (torch.full((4, 1, 3, 6, 6), 0.5), {"input": "spikes"}, "values 0.5..0.5, which are no spikes"),
    (torch.full((4, 1, 3, 6, 6), 2.0), {"input": "spikes"}, "no spikes of 0 or 1: say --input"),
    (torch.full((4, 1, 3, 6, 6), -1.0), {"input": "counts"}, "which are no counts"),
    (torch.full((4, 1, 3, 6, 6), 40.0), {"input": "counts"}, "counts up to 40: the array takes up"),
    (torch.zeros(1, 3, 6, 6), {"input": "frames"}, "input must be pixels, spikes, counts"),
    (torch.zeros(1, 3, 6, 6), {"input": "pixels", "output": "spikes"}, "output must be count"),
    (torch.zeros(1, 3, 6, 6), {"input": "pixels", "std": 0.0}, "std must be above 0"),
    (torch.zeros(1, 3, 6, 6), {"input": "pixels", "steps": 3}, "runs 4 time steps, not 3"),
    (torch.zeros(1, 3, 6, 6), {"input": "pixels", "steps": 0}, "steps must be above 0"),
], ids=str)
def test_what_an_example_is_not_is_refused(example, options, message):
    with pytest.raises(ValueError, match=message):
        from_module(Net(0), example, **options)
