"""Networks on images: published sizes, shapes, gradients, tdBN at additions, learning."""

import math

import pytest
import torch

from quadfire.models.networks import (
    ConvNet,
    ResNet,
    make_network,
    network_from_config,
    resnet19,
    resnet34,
    vgg11,
    vgg_snn,
)
from quadfire.models.networks.layers import over_time
from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.networks.residual import Block
from quadfire.models.neurons import KINDS, LIF, QIF, make_neuron
from quadfire.models.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

SHAPE = (3, 32, 32)


def on_paper(make, **options):
    """A network whose parameters take no memory, to count them."""
    with torch.device("meta"):
        return make(LIF(), **options)


def pixels(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8,
                         generator=torch.Generator().manual_seed(seed))


@pytest.mark.fast
@pytest.mark.parametrize(("make", "options", "published", "neurons"), [
    (resnet19, {}, 12.63e6, 18),                # as stated for CIFAR-10
    (resnet34, {}, 21.80e6, 33),
    (vgg_snn, {}, 9.27e6, 8),                   # for CIFAR10-DVS
    (vgg11, {}, 9.23e6, 8),
])
def test_parameter_counts_are_the_published_ones(make, options, published, neurons):
    network = on_paper(make, **options)
    assert network.parameter_count == pytest.approx(published, rel=0.006)
    assert len(network.neurons) == neurons


@pytest.mark.fast
def test_parameter_counts_to_the_last_one():
    """As published without spikes, minus biases before a norm, plus norms at identities."""
    assert on_paper(resnet34).parameter_count == 21_797_672 + 2 * (3 * 64 + 3 * 128 + 5 * 256
                                                                   + 2 * 512)
    biases = 64 + 128 + 2 * 256 + 4 * 512
    assert on_paper(vgg11).parameter_count == 9_231_114 - biases
    large = "-".join([vgg11(LIF()).spelling.removesuffix("-10"), "4096", "4096", "1000"])
    wide = on_paper(lambda neuron: ConvNet(large, neuron, input_shape=(3, 224, 224)))
    # VGG-11 with batch norm of 132,868,840, whose dense layers have biases and no norm
    assert wide.parameter_count == 132_868_840 - biases + 2 * 4096
    weights = 3456 + 6 * 147_456 + 294_912 + 32_768 + 5 * 589_824 + 1_179_648 + 131_072 \
        + 3 * 2_359_296
    convolutions = sum(p.numel() for p in on_paper(resnet19).parameters() if p.ndim == 4)
    assert convolutions == weights == 12_553_600


@pytest.mark.fast
def test_shapes_inside_of_resnet34():
    network = resnet34(LIF(), steps=2, width=1 / 16)
    x = network.pool(network.stem(torch.zeros(1, 1, 3, 224, 224)).flatten(0, 1))
    assert x.shape == (2, 4, 56, 56)
    strides = [block.first.conv.stride[0] for block in network.blocks]      # pyright: ignore
    assert strides == [1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1]
    assert network.readout.in_features == 32


@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 1), (2, 3)])
def test_order_in_memory_changes_no_value(stride, kernel):
    """`over_time` with channels innermost, against each time step by itself."""
    torch.manual_seed(1)
    layer = torch.nn.Conv2d(4, 8, kernel, stride, kernel // 2).double()
    x = torch.randn(3, 12, 4, 8, 8, dtype=torch.float64, requires_grad=True)
    steps = torch.stack([layer(step) for step in x])
    expected = torch.autograd.grad(steps.square().sum(), x)[0]
    found = over_time(layer, x)
    torch.testing.assert_close(found, steps)
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), x)[0], expected)
    neuron = QIF()
    spikes = neuron(found)
    assert spikes[0].is_contiguous(memory_format=torch.channels_last)
    neuron.reset()
    assert torch.equal(spikes, neuron(found.contiguous()))


@pytest.mark.parametrize("name", ["resnet19", "resnet34", "vgg11", "vggsnn",
                                  "4C3-P2-6C5S2-AP2-12-10"])
def test_forward_backward_and_back_from_config(name):
    torch.manual_seed(1)
    network = make_network(name, QIF(window=1.0), input_shape=SHAPE, classes=10, steps=3,
                           width=1 / 16)
    every = network(pixels(4, *SHAPE), every_step=True)
    assert every.shape == (3, 4, 10)
    every.square().mean().backward()
    for parameter, tensor in network.named_parameters():
        assert tensor.grad is not None and tensor.grad.isfinite().all(), parameter
        assert tensor.grad.any() or "beta" in parameter, parameter
    assert len(network.rates) == len(network.neurons) and all(0 < r < 1 for r in network.rates)
    network.eval()
    with torch.no_grad():
        torch.testing.assert_close(network(pixels(2, *SHAPE)),
                                   network(pixels(2, *SHAPE), every_step=True).mean(0))
    again = network_from_config(network.config())
    assert again.config() == network.config() and type(again) is type(network)
    again.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(pixels(2, *SHAPE)), network(pixels(2, *SHAPE)))


@pytest.mark.parametrize("kind", [*KINDS])
def test_every_neuron_trains_in_a_residual_network(kind):
    torch.manual_seed(1)
    network = make_network("resnet19", make_neuron(kind), input_shape=SHAPE, classes=10, steps=4,
                           width=1 / 32)
    network(pixels(2, *SHAPE)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_frames_of_constant_pixels_are_direct_encoding():
    torch.manual_seed(1)
    network = make_network("resnet19", QIF(), input_shape=SHAPE, classes=10, steps=3,
                           width=1 / 16).double().eval()
    images = pixels(2, *SHAPE)
    frames = (images.double() / 256).expand(3, -1, -1, -1, -1)
    with torch.no_grad():
        torch.testing.assert_close(network(frames), network(images))
        assert torch.equal(network(images.flatten(1)), network(images))


def test_small_network_of_the_digits():
    network = make_network("16C3-P2-32C3-P2-128-10", QIF(), input_shape=(1, 28, 28), classes=10)
    assert network(pixels(3, 784)).shape == (3, 10)
    assert [tuple(p.shape) for p in network.parameters() if p.ndim > 1] == [
        (16, 1, 3, 3), (32, 16, 3, 3), (128, 32 * 7 * 7), (10, 128)]


@pytest.mark.fast
@pytest.mark.parametrize(("name", "message"), [
    ("resnet", "no network is called 'resnet'; there are vgg11"),
    ("16C3-10C", "the last layer must be a number of classes, not '10C'"),
    ("16K3-10", "a layer must be as 16C3, 16C3S2, P2, AP2 or 128, not '16K3'"),
    ("0C3-10", "not '0C3'"), ("16C4-10", "a kernel must be odd, not 4"),
    ("64-8C3-10", "'8C3' cannot follow a fully connected layer"),
    ("P8-P8-10", "nothing of .* is left after 'P8'"),
    ("8C3-P2-11", "ends in 11 outputs, the data has 10"),
])
def test_what_is_no_network(name, message):
    with pytest.raises(ValueError, match=message):
        make_network(name, LIF(), input_shape=SHAPE, classes=10)


@pytest.mark.fast
@pytest.mark.parametrize(("x", "error", "message"), [
    (torch.zeros(2, 3, 32, 32), TypeError, "images must be uint8, not torch.float32"),
    (torch.zeros(2, 3, 32, 31, dtype=torch.uint8), ValueError, r"shape \[N, 3, 32, 32\]"),
    (torch.zeros(3, 2, 3, 32, 32), ValueError, r"frames must have shape \[4, N, 3, 32, 32\]"),
    (torch.zeros(4, 2, 3, 32, 32, dtype=torch.int32), TypeError, "frames must be uint8, bool or"),
])
def test_what_is_no_image(x, error, message):
    network = make_network("4C3-P8-10", LIF(), input_shape=SHAPE, classes=10)
    with pytest.raises(error, match=message):
        network(x)


@pytest.mark.parametrize("make", [lambda neuron: SpikingMLP([6, 5, 3], neuron, 2),
                                  lambda neuron: ConvNet("2C3-3", neuron, input_shape=(1, 4, 4))])
def test_networks_refuse_neurons_of_single_steps(make):
    with pytest.raises(ValueError, match="step_mode must be 'm', not 's'"):
        make(LIF(step_mode="s"))


def test_resnet_refuses():
    for options, message in [({"blocks": (1,)}, "one length"), ({"stem": "5x5"}, "3x3 or 7x7")]:
        with pytest.raises(ValueError, match=message):
            ResNet(LIF(), **{"widths": (4, 8), "blocks": (1, 1), "classes": 10,
                             "input_shape": SHAPE, **options})


# tdBN ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("inputs", "stride"), [(16, 1), (8, 2)])
def test_currents_at_a_join_have_the_deviation_alpha_v_th(inputs, stride):
    """Both branches have half the variance and are nearly independent before training."""
    torch.manual_seed(1)
    block = Block(inputs, 16, LIF(v_threshold=1.5), steps=4, stride=stride, alpha=0.8)
    seen = []
    block.neuron.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    block((torch.rand(4, 16, inputs, 12, 12) < 0.3).float())
    assert block.norm.amplitude == block.shortcut_norm.amplitude
    assert block.norm.amplitude == pytest.approx(0.8 * 1.5 / math.sqrt(2))
    deviation = seen[0].transpose(0, 2).flatten(1).std(1)
    torch.testing.assert_close(deviation.mean(), torch.tensor(1.2), rtol=0.05, atol=0)


# Learning -----------------------------------------------------------------------------------------


def _steps(network, x, labels, count: int, rate: float) -> list[float]:
    optimizer = torch.optim.AdamW(network.parameters(), rate)
    losses = []
    for _ in range(count):
        loss = torch.nn.functional.cross_entropy(network(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(("name", "width", "share"), [("resnet19", 1 / 8, 0.65),
                                                      ("vggsnn", 1 / 16, 0.2)])
def test_loss_falls_on_a_few_images(name, width, share):
    """Four smooth pictures under noise, in a thin network."""
    torch.manual_seed(1)
    network = make_network(name, QIF(a=0.25, window=0.75), input_shape=SHAPE, classes=4, steps=2,
                           width=width)
    labels = torch.arange(4).repeat(3)
    smooth = torch.nn.functional.interpolate(pixels(4, 3, 4, 4).float(), (32, 32), mode="bilinear")
    x = (0.75 * smooth[labels] + 0.25 * pixels(12, *SHAPE, seed=2)).to(torch.uint8)
    losses = _steps(network, x, labels, 15, 1e-2)
    assert losses[-1] < share * losses[0], losses


@pytest.mark.parametrize(("name", "shape"), [("resnet19", SHAPE), ("vggsnn", (2, 48, 48))])
def test_full_size_step(name, shape):
    """One training step of the full-size network changes all of its parameters."""
    torch.manual_seed(1)
    network = make_network(name, QIF(a=0.25, window=1.0), input_shape=shape, classes=10, steps=2)
    before = {key: value.clone() for key, value in network.named_parameters()}
    x = pixels(4, *shape) if shape[0] == 3 else (pixels(2, 4, *shape) < 26).float()
    losses = _steps(network, x, torch.arange(4), 1, 1e-3)
    assert math.isfinite(losses[0])
    assert all(not torch.equal(value, before[key]) for key, value in network.named_parameters())


# Checkpoints --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet19", "8C3-P4-10"])
def test_checkpoint_comes_back(name, tmp_path):
    torch.manual_seed(1)
    network = make_network(name, QIF(window=1.0), input_shape=SHAPE, classes=10, width=1 / 16)
    network(pixels(8, *SHAPE))
    save_checkpoint(tmp_path / "net.safetensors", network, {"seed": 1})
    again, about = load_checkpoint(tmp_path / "net.safetensors")
    assert about == {"seed": 1} and again.config() == network.config()
    with torch.no_grad():
        assert torch.equal(again(pixels(3, *SHAPE)), network.eval()(pixels(3, *SHAPE)))


def test_config_without_a_kind_is_dense():
    assert isinstance(network_from_config(SpikingMLP([4, 3, 2], QIF()).config()), SpikingMLP)
    with pytest.raises(ValueError, match="no kind of network is called 'rnn'; there are mlp"):
        network_from_config({"network": "rnn"})


def test_checkpoint_of_an_unknown_network(tmp_path):
    network = make_network("8C3-P4-10", QIF(), input_shape=SHAPE, classes=10)
    network.kind = "other"
    save_checkpoint(tmp_path / "net.safetensors", network, {})
    with pytest.raises(CheckpointError, match="no kind of network is called 'other'"):
        load_checkpoint(tmp_path / "net.safetensors")
