"""Data sets, their split, augmentation and encoding."""

import hashlib

import pytest
import torch

from quadfire.models.training.augment import Augment
from quadfire.models.datasets import digits, load_dataset, mnist5k
from quadfire.models.integer.encoding import present

NONE = Augment(shift=0, rotate=0, scale=0, shear=0, elastic=0)


@pytest.mark.parametrize(("make", "side", "train", "held_out", "split", "pixels"), [
    (mnist5k, 28, 4000, 1000, "8249d9147eb854a6", "2913c6b6527114b7"),
    (digits, 8, 1438, 359, "ca132b17336af3c6", "5dcd4effdfd089f6"),
])
def test_split_is_fixed_disjoint_and_stratified(make, side, train, held_out, split, pixels):
    data = make()
    assert data.images.shape == (train + held_out, side * side)
    assert data.images.dtype == torch.uint8 and data.images.max() == 255
    assert (len(data.train), len(data.held_out)) == (train, held_out)
    assert sorted(data.train.tolist() + data.held_out.tolist()) == [*range(train + held_out)]
    counts = torch.bincount(data.held_out_set[1], minlength=10)
    assert counts.max() - counts.min() <= 2 and counts.min() >= held_out // 10 - 2

    def digest(tensor: torch.Tensor) -> str:
        return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()[:16]

    assert (digest(data.held_out), digest(data.images)) == (split, pixels)


def test_no_held_out_image_is_trained_on(data):
    train, held_out = (set(map(bytes, images.numpy())) for images in
                       (data.train_set[0], data.held_out_set[0]))
    assert not train & held_out


def test_load_dataset_by_name(data):
    assert torch.equal(load_dataset("digits").images, data.images)
    with pytest.raises(ValueError, match="no data set is called 'cifar'; there are mnist5k"):
        load_dataset("cifar")


def test_augment_nothing_changes_nothing(data):
    images = data.images[:20]
    assert torch.equal(NONE(images, 8, torch.Generator()), images)
    # through the interpolation as well: a displacement far below a pixel
    slight = Augment(shift=1e-7, rotate=0, scale=0, shear=0, elastic=0)
    assert torch.equal(slight(images, 8, torch.Generator()), images)


def test_augment_shifts_at_most_that_far():
    image = torch.zeros(1, 28 * 28, dtype=torch.uint8)
    image[0, 14 * 28 + 14] = 255
    shift = Augment(shift=2 / 28, rotate=0, scale=0, shear=0, elastic=0)
    found = shift(image.expand(500, -1), 28, torch.Generator().manual_seed(1)).view(-1, 28, 28)
    rows = (found > 0).any(2).nonzero()[:, 1]
    assert (rows.min(), rows.max()) == (12, 16)
    assert (found.flatten(1).sum(1) >= 250).all()


def test_augment_turns_about_the_centre():
    images = torch.zeros(1, 21, 21, dtype=torch.uint8)
    images[0, 10, 10] = 255
    turn = Augment(shift=0, rotate=90, scale=0, shear=0, elastic=0)
    found = turn(images.view(1, -1).expand(50, -1), 21, torch.Generator().manual_seed(1))
    assert torch.equal(found.argmax(1), torch.full((50,), 10 * 21 + 10))


def test_augment_repeats_and_varies(data):
    images = data.images[:1].expand(8, -1)
    first, again, other = (Augment()(images, 8, torch.Generator().manual_seed(seed))
                           for seed in (1, 1, 2))
    assert first.shape == images.shape and first.dtype == torch.uint8
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len(set(map(bytes, first.numpy()))) == 8


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
