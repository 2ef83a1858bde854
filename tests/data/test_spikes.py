"""What a spike is: counts never become 0 and 1 unless the user says so, at any door."""

import numpy as np
import pytest
import torch

from quadfire.data.framing import Framing
from quadfire.data.spikes import check_spikes, spikes_above
from quadfire.firmware.compiler.compile import compile_network
from quadfire.firmware.driver.inputs import checked, read_inputs
from quadfire.firmware.driver.session import inference_tape
from quadfire.models.datasets import TensorSamples
from quadfire.models.integer import reference
from quadfire.models.networks import ConvNet
from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.neurons import LIF
from quadfire.models.quantize.quantize import calibrate, to_grid, to_integer
from quadfire.models.quantize.report import integer_accuracy, layer_reports
from quadfire.models.training.train import measure
from quadfire.rtl.contract.config import preset
from quadfire.sim.cycles import estimate, network_model

pytestmark = pytest.mark.fast

COUNTS = np.random.default_rng(1).integers(0, 6, (3, 4, 6))
SPIKES = (COUNTS > 3).astype(np.float64)
REMEDY = r"a spike has no size. Make spikes of all that is above 0 by --spikes-above 0"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, np.int64, bool,
                                   ">f4", ">i2"])
def test_zeros_and_ones_are_spikes(dtype):
    found = check_spikes(SPIKES.astype(dtype))
    assert found.dtype == bool and np.array_equal(found, SPIKES == 1)
    if np.dtype(dtype).isnative:
        found = check_spikes(torch.from_numpy(SPIKES.astype(dtype)))
        assert found.dtype == torch.bool and np.array_equal(found.numpy(), SPIKES == 1)


@pytest.mark.parametrize(("value", "told"), [
    (2, "up to 2"), (0.5, "up to 0.5"), (-1, "up to -1"), (np.nan, "up to nan"),
    (np.inf, "up to inf"), (1 + 1e-12, "up to 1")])
def test_anything_else_is_refused(value, told):
    frames = SPIKES.copy()
    frames[1, 2, 3] = value
    for some in (frames, torch.from_numpy(frames)):
        with pytest.raises(ValueError, match=rf"frames must be 0 or 1, and 1 of 72 values are not "
                                             rf"\({told}\): {REMEDY}") as caught:
            check_spikes(some)
        assert "\n" not in str(caught.value)


def test_spikes_where_the_user_says_so():
    assert np.array_equal(spikes_above(COUNTS, 0), COUNTS > 0)
    assert np.array_equal(spikes_above(COUNTS, 2.5), COUNTS >= 3)
    with pytest.raises(ValueError, match="48 of|of 72 values"):
        spikes_above(COUNTS, None)


# Every door ---------------------------------------------------------------------------------------


def networks():
    """A network of spikes in floating point, on the grid, in integers; and as a program."""
    torch.manual_seed(1)
    network = SpikingMLP([6, 5, 3], LIF(), steps=3, input_bits=0).eval()
    grid = to_grid(network)
    return network, grid, to_integer(grid), compile_network(to_integer(grid), preset("tiny"))


def doors():
    """(name, what runs counts of a type) of everything that takes frames."""
    _, grid, integer, program = networks()
    mapped = ConvNet("5-3", LIF(), input_shape=(6, 1, 1), steps=3)     # takes frames of any numbers
    counts = torch.from_numpy(COUNTS)
    samples = TensorSamples(counts.float().transpose(0, 1), torch.arange(4) % 3)

    class Frames:
        seeded = False

        def __len__(self):
            return len(samples)

        def batch(self, index, seeds=None):
            images, labels = samples.batch(index)
            return images.transpose(0, 1), labels

    spikes = [np.zeros((3, 4, *shape), bool) for shape in integer.shapes]
    return {
        "grid": lambda: grid(counts.float()),
        "grid of bytes": lambda: grid(counts.to(torch.uint8)),
        "calibrate": lambda: calibrate(to_grid(mapped, input_bits=0), mapped,
                                       counts.float()[..., None, None]),
        "measure": lambda: measure(grid, Frames()),
        "integer accuracy": lambda: integer_accuracy(integer, Frames()),
        "reports": lambda: [*layer_reports(grid, Frames())],
        "reference": lambda: reference.run(integer, COUNTS.astype(np.uint8)),
        "driver": lambda: checked(integer, COUNTS),
        "driver of bytes": lambda: checked(integer, COUNTS.astype(np.uint8)),
        "tape": lambda: inference_tape(program, COUNTS.astype(np.uint8)),
        "cycle model": lambda: network_model.predict(program, COUNTS.astype(np.uint8), spikes),
        "estimate": lambda: estimate.measured(program, COUNTS.astype(np.uint8)),
    }


@pytest.mark.parametrize("name", [
    "grid", "grid of bytes", "calibrate", "measure", "integer accuracy", "reports", "reference",
    "driver", "driver of bytes", "tape", "cycle model", "estimate"])
def test_counts_are_refused(name):
    with pytest.raises(ValueError, match=REMEDY) as caught:
        doors()[name]()
    assert "\n" not in str(caught.value)


def test_all_doors_are_tried():
    assert len(doors()) == 12


def test_floats_of_zeros_and_ones_run_as_their_bytes_do():
    _, grid, integer, _ = networks()
    want = reference.run(integer, SPIKES.astype(np.uint8)).logits
    with torch.no_grad():
        found = grid(torch.from_numpy(SPIKES).float()) * 3 * (1 << grid.fraction_bits)
    assert torch.equal(found.round().long(), want)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_file_of_frames_in_floating_point(tmp_path, dtype):
    _, _, integer, _ = networks()
    np.save(tmp_path / "x.npy", SPIKES.astype(dtype))
    assert np.array_equal(checked(integer, read_inputs([tmp_path / "x.npy"], integer)), SPIKES)
    np.save(tmp_path / "x.npy", COUNTS.astype(dtype))
    with pytest.raises(ValueError, match=rf"x\.npy: frames must be 0 or 1.*{REMEDY}"):
        read_inputs([tmp_path / "x.npy"], integer)


# How frames are made ------------------------------------------------------------------------------


def test_a_framing_is_kept_and_read_again():
    assert Framing().about() == {} and Framing.read({}) == Framing()
    framing = Framing(spikes_above=0.0, by="time", sensor=(346, 260))
    about = framing.about()
    assert about == {"frames": {"spikes_above": 0.0, "by": "time", "sensor": [346, 260]}}
    assert Framing.read(about) == framing
    assert Framing.read(about, 1.5, "number", "34x34") == Framing(spikes_above=1.5, sensor=(34, 34))
    assert framing.options == "--spikes-above, --by, --sensor"


@pytest.mark.parametrize("about", [
    {"frames": []}, {"frames": {"other": 1}}, {"frames": {"spikes_above": "0"}},
    {"frames": {"spikes_above": True}}, {"frames": {"spikes_above": float("nan")}},
    {"frames": {"by": "size"}}, {"frames": {"by": 3}}, {"frames": {"sensor": [1]}},
    {"frames": {"sensor": [0, 5]}}, {"frames": {"sensor": ["a", 5]}}, {"frames": {"sensor": 5}},
    {"frames": {"sensor": {}}}])
def test_a_framing_of_another_kind(about):
    with pytest.raises(ValueError, match="frames must be|spikes_above must|by must|a sensor must"):
        Framing.read(about)


@pytest.mark.parametrize("sensor", ["346", "346 260", "ax3", "0x3", "346x", "-1x3", "99999x3"])
def test_a_sensor_that_is_none(sensor):
    with pytest.raises(ValueError, match="WIDTHxHEIGHT, such as 346x260"):
        Framing.read({}, sensor=sensor)
