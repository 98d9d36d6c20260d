"""Images in a file are a tensor: all that reads them gets the same floats, and only the rows that it asks for."""

import numpy as np
import pytest
import torch

from capsbench.data.augment import Augmented, Shift
from capsbench.data.digest import digest_parts
from capsbench.data.draws import draw_few
from capsbench.data.images import Images, Splits, split_rows
from capsbench.data.stored import StoredImages

LEVELS = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (12, 2, 5, 4), dtype=np.uint8))
ROWS = torch.tensor([7, 2, 11, 0, 3])
FLOATS = torch.from_numpy(LEVELS[ROWS].numpy().astype(np.float32) / np.float32(255))
LABELS = torch.tensor([0, 1, 0, 1, 1])


@pytest.fixture
def stored() -> StoredImages:
    return StoredImages(LEVELS, ROWS)


def is_same(images: torch.Tensor, expected: torch.Tensor) -> bool:
    return type(images) is torch.Tensor and images.dtype == expected.dtype and torch.equal(images, expected)


def test_each_grey_level_is_the_same_float_as_by_a_division() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1)
    floats = StoredImages(levels, torch.arange(256))[:]
    assert floats.flatten().tolist() == (np.arange(256, dtype=np.float32) / np.float32(255)).tolist()


@pytest.mark.parametrize(
    "which",
    [
        3, -1, slice(1, 4), slice(None, None, 2), [4, 0], torch.tensor([4, 4, 1]), torch.tensor([[0, 1], [2, 3]]),
        torch.tensor([True, False, True, True, False]), (slice(1, 4), 0), (slice(None), slice(None), -1), (2, 1), None, ...,
        (slice(None), torch.tensor([1, 0])), (..., 0),
    ],
    ids=str,
)  # fmt: skip
def test_an_index_reads_the_same_floats_as_of_a_tensor(stored: StoredImages, which: object) -> None:
    assert is_same(stored[which], FLOATS[which])


def test_it_has_the_shape_of_its_floats(stored: StoredImages) -> None:
    assert (stored.shape, stored.dtype, len(stored)) == (FLOATS.shape, torch.float32, 5)
    assert isinstance(stored, torch.Tensor)


def test_any_other_operation_reads_all_images(stored: StoredImages) -> None:
    assert is_same(stored * 2 + 1, FLOATS * 2 + 1)
    assert is_same(torch.cat([stored, stored]), torch.cat([FLOATS, FLOATS]))
    assert is_same(torch.nn.functional.max_pool2d(stored, 2), torch.nn.functional.max_pool2d(FLOATS, 2))
    assert is_same(stored.clone(), FLOATS)
    assert np.array_equal(np.asarray(stored), FLOATS.numpy())
    assert stored.tolist() == FLOATS.tolist()
    assert all(is_same(image, other) for image, other in zip(stored, FLOATS, strict=True))


def test_a_clone_can_be_changed_but_the_images_cannot(stored: StoredImages) -> None:
    with pytest.raises(TypeError, match="in place"):
        stored.add_(1)
    assert is_same(stored.clone().add_(1), FLOATS + 1)
    assert stored.clone().requires_grad_().requires_grad


def test_draws_splits_and_other_types_stay_bytes(stored: StoredImages) -> None:
    few = draw_few(Images(stored, LABELS), 3, seed=1, name="shapes")
    expected = draw_few(Images(FLOATS, LABELS), 3, seed=1, name="shapes")
    blocks = stored.split(2)
    halves = stored.to("cpu", torch.float16)
    for images, floats in (
        (few.images, expected.images),
        (halves, FLOATS.half()),
        (stored.detach(), FLOATS),
        *zip(blocks, FLOATS.split(2), strict=True),
    ):
        assert isinstance(images, StoredImages)
        assert images.levels is LEVELS
        assert is_same(images[:], floats)
    assert stored.to("cpu", torch.float32) is stored


def test_moved_to_a_device_its_own_rows_are_there_as_bytes(stored: StoredImages) -> None:
    moved = stored.to("meta", torch.float16)
    assert isinstance(moved, StoredImages)
    assert (moved.device.type, moved.shape, moved.dtype) == ("meta", stored.shape, torch.float16)
    assert (moved.levels.dtype, len(moved.levels)) == (torch.uint8, 5)


def test_floats_in_a_file_are_read_as_they_are() -> None:
    assert is_same(StoredImages(FLOATS, torch.tensor([4, 1]))[:], FLOATS[[4, 1]])


def test_batches_and_digests_are_those_of_floats(stored: StoredImages) -> None:
    batches = [
        Augmented(Images(images, LABELS), [Shift(1)], torch.Generator().manual_seed(0)).build_batch(
            torch.tensor([3, 1])
        )
        for images in (stored, FLOATS)
    ]
    assert is_same(batches[0].images, batches[1].images)
    digests = [digest_parts(Splits(*[Images(images, LABELS)] * 3)) for images in (stored, FLOATS)]
    assert digests[0] == digests[1]


def test_blocks_of_rows_hold_a_bounded_number_of_floats(stored: StoredImages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capsbench.data.images.BLOCK", 80)  # two images of 40 numbers
    assert [len(block) for block in split_rows(stored)] == [2, 2, 1]
    assert is_same(torch.cat(list(split_rows(stored))), FLOATS)
    assert is_same(stored.read(), FLOATS)
    assert [len(block) for block in split_rows(FLOATS, rows=3)] == [3, 2]
    assert [len(block) for block in split_rows(FLOATS[:0])] == [0]
