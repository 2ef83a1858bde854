"""Augmentation: each operation on colour images against Pillow or its definition; warped digits."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from quadfire.models.training.augment import (
    CIFAR10_POLICY,
    OPERATIONS,
    Augment,
    ImageAugment,
    augment_config,
    augment_from_config,
)

PLAIN = ImageAugment(crop=0, flip=False, policy="", cutout=0)
NONE = Augment(shift=0, rotate=0, scale=0, shear=0, elastic=0)


def pictures(count: int = 6) -> torch.Tensor:
    random = np.random.default_rng(1)
    return torch.from_numpy(random.normal(110, 45, (count, 3, 32, 32)).clip(5, 250)
                            .astype(np.uint8))


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def run(augment: ImageAugment, images: torch.Tensor, seed: int = 1) -> torch.Tensor:
    count = images.shape[1] if images.ndim == 5 else len(images)
    return augment.apply(images, augment.draw(count, generator(seed)))


@pytest.mark.parametrize(("name", "magnitude", "reference", "tolerance"), [
    ("autocontrast", 0, ImageOps.autocontrast, 1),
    ("equalize", 0, ImageOps.equalize, 0),
    ("invert", 0, ImageOps.invert, 0),
    ("solarize", -0.5, lambda image: ImageOps.solarize(image, 128), 0),
    ("posterize", 0.5, lambda image: ImageOps.posterize(image, 6), 0),
    ("contrast", 0.5, lambda image: ImageEnhance.Contrast(image).enhance(1.45), 1),
    ("contrast", -1, lambda image: ImageEnhance.Contrast(image).enhance(0.1), 1),
    ("color", 1, lambda image: ImageEnhance.Color(image).enhance(1.9), 1),
    ("color", -0.5, lambda image: ImageEnhance.Color(image).enhance(0.55), 1),
    ("brightness", 0.5, lambda image: ImageEnhance.Brightness(image).enhance(1.45), 1),
    ("sharpness", 1, lambda image: ImageEnhance.Sharpness(image).enhance(1.9), 1),
    ("sharpness", -1, lambda image: ImageEnhance.Sharpness(image).enhance(0.1), 1),
])
def test_operations_are_those_of_pillow(name, magnitude, reference, tolerance):
    """Where it rounds down and this to the nearest, one level lies between."""
    images = pictures()
    images[0] = 77                                          # nothing to stretch or equalise
    found = OPERATIONS[name](images, torch.full((6,), float(magnitude)))
    expected = np.stack([np.array(reference(Image.fromarray(image.permute(1, 2, 0).numpy())))
                         for image in images]).transpose(0, 3, 1, 2)
    assert found.dtype == torch.uint8
    assert (found.int() - torch.from_numpy(expected).int()).abs().max() <= tolerance


def test_geometry():
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    images[:, :, 4, 10] = 255
    pixels = 16 * 331 / (150 * 32)                          # of a magnitude, for 16 pixels
    for name, point in (("translate_x", (4, 26)), ("translate_y", (20, 10))):
        found = OPERATIONS[name](images, torch.tensor([0.0, -pixels]))
        assert torch.equal(found[0], images[0])
        assert (found[1, 0] == 255).nonzero().tolist() == [[*point]]
        assert (found[1, 0] == 128).sum() == 16 * 32        # grey comes in
    turned = OPERATIONS["rotate"](pictures(2), torch.tensor([3.0, -3.0]))       # 90 degrees
    assert torch.equal(turned[0], pictures(2)[0].rot90(1, (1, 2)))
    assert torch.equal(turned[1], pictures(2)[1].rot90(-1, (1, 2)))
    for name, axis in (("shear_x", 1), ("shear_y", 2)):
        image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
        image.movedim(axis + 1, 2)[:, :, :, 16] = 255       # a straight line through the middle
        found = OPERATIONS[name](image, torch.ones(1)).movedim(axis + 1, 2)
        ends = [int((found[0, 0, row] == 255).nonzero()[0]) for row in (2, 29)]
        assert abs(ends[1] - ends[0]) == round(0.3 * 27)


def test_magnitude_0_changes_nothing():
    images = pictures()
    for name in {*OPERATIONS} - {"autocontrast", "equalize", "invert"}:
        assert torch.equal(OPERATIONS[name](images, torch.zeros(6)), images), name


def test_policy_is_made_of_operations():
    assert len(CIFAR10_POLICY) == 25
    for pair in CIFAR10_POLICY:
        for name, probability, magnitude in pair:
            assert name in OPERATIONS and 0 <= probability <= 1 and 0 <= magnitude <= 9


def test_policy_is_used_as_often_as_it_says():
    """Images of one colour under an operation that shows: invert, in pairs 0 (10 %) and 23."""
    images = torch.full((4000, 3, 4, 4), 250, dtype=torch.uint8)
    augment = ImageAugment(crop=0, flip=False, cutout=0)
    offsets, turned, centres, pairs, chances, signs = augment.draw(4000, generator())
    found = augment.apply(images, (offsets, turned, centres, torch.zeros_like(pairs), chances,
                                   signs))
    inverted = (found[:, 0, 0, 0] == 5).double().mean().item()
    assert inverted == pytest.approx(0.1, abs=0.015)
    assert torch.bincount(pairs, minlength=25).min() > 100


def test_crop_shifts_and_fills_with_0():
    image = torch.full((500, 3, 8, 8), 9, dtype=torch.uint8)
    image[:, :, 4, 4] = 200
    found = run(ImageAugment(crop=3, flip=False, policy="", cutout=0), image)
    _, rows, columns = (found[:, 0] == 200).nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 7, 1, 7)
    assert torch.bincount(rows).min() == 0 and torch.bincount(rows)[1:].min() > 40
    top = found[(found[:, 0] == 200).nonzero()[rows == 7][:, 0]]
    assert (top[:, :, :3] == 0).all()                       # shifted down by 3


def test_flip_turns_half_of_the_images():
    images = pictures(1).expand(1000, -1, -1, -1)
    found = run(ImageAugment(crop=0, policy="", cutout=0), images)
    turned = (found == images.flip(3)).flatten(1).all(1)
    assert ((found == images).flatten(1).all(1) | turned).all()
    assert 430 < turned.sum() < 570


def test_cutout_is_one_square():
    found = run(ImageAugment(crop=0, flip=False, policy="", cutout=16),
                torch.ones(500, 3, 32, 32, dtype=torch.uint8))
    holes = (found == 0).sum((2, 3))
    assert torch.equal(holes[:, 0], holes[:, 2])
    assert holes.max() == 256 and holes.min() >= 64
    rows, columns = (found[0, 0] == 0).any(1).sum(), (found[0, 0] == 0).any(0).sum()
    assert holes[0, 0] == rows * columns


def test_nothing_changes_nothing():
    assert torch.equal(run(PLAIN, pictures()), pictures())


def test_frames_of_a_sample_change_alike():
    frames = torch.rand(5, 1, 2, 16, 16).expand(5, 3, 2, 16, 16).clone()
    frames[1:] = frames[0]
    found = run(ImageAugment(crop=2, policy="", cutout=4), frames)
    assert found.shape == frames.shape and found.dtype == frames.dtype
    assert torch.equal(found, found[:1].expand_as(found))
    assert not torch.equal(found[:, 0], found[:, 1])
    with pytest.raises(ValueError, match="AutoAugment is for bytes of 3 channels, not 10"):
        run(ImageAugment(), frames)


@pytest.mark.parametrize("augment", [ImageAugment(), Augment()])
def test_parts_of_a_batch_see_what_the_batch_sees(augment):
    images = pictures(10) if isinstance(augment, ImageAugment) else pictures(10)[:, :1]
    draws = augment.draw(10, generator())
    whole = augment.apply(images, draws)
    parts = [augment.apply(images[part], tuple(drawn[part] for drawn in draws))
             for part in (slice(0, 4), slice(4, 10))]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(whole, images)
    assert torch.equal(whole, augment.apply(images, augment.draw(10, generator())))


@pytest.mark.parametrize("augment", [None, Augment(shift=0.1), ImageAugment(cutout=8)])
def test_config(augment):
    assert augment_from_config(augment_config(augment)) == augment


@pytest.mark.parametrize("options", [{"policy": "imagenet"}, {"crop": -1}])
def test_refuses(options):
    with pytest.raises(ValueError, match="must"):
        ImageAugment(**options)


# Digits -------------------------------------------------------------------------------------------


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
