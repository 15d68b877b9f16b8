import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa.data.augment import augment
from hpa.data.feed import Feed, batch_shape, equal_batches, evaluation_batches, smaller, training_batches
from hpa.data.images import read_image, resized, write_image
from hpa.tasks import HPA

COUNT, BITS = 60, 6
# A row's target is its own number in binary, so that every batch tells which rows it holds.
TARGETS = (np.arange(COUNT)[:, None] >> np.arange(BITS) & 1).astype(np.uint8)
ROWS = np.flatnonzero(np.arange(COUNT) % 5)  # 48 rows


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A read-only memory map, as a store gives it."""
    path = tmp_path_factory.mktemp("feed") / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (COUNT, 16, 16, 4), np.uint8))
    return np.load(path, mmap_mode="r")


def read(dataset):
    """Return the batches, each as the rows that it holds and their images."""
    return [((truth.numpy() @ (1 << np.arange(BITS))).astype(int), batch.numpy()) for batch, truth in dataset]


def feed(images, epochs, batch_size=10, augmentation="report", seed=3, rows=ROWS, factors=None):
    return read(training_batches(Feed(images, TARGETS, rows, augmentation, "none", seed, factors), batch_size, epochs))


def same(first, second):
    return len(first) == len(second) and all(
        np.array_equal(r, s) and np.array_equal(i, j) for (r, i), (s, j) in zip(first, second, strict=True)
    )


def test_types_and_shapes_are_known(images):
    dataset = training_batches(Feed(images, TARGETS, ROWS, "report", "none", 0), 10, range(1))
    batch, truth = dataset.element_spec
    assert (batch.dtype, batch.shape.as_list()) == ("uint8", [None, 16, 16, 4])
    assert (truth.dtype, truth.shape.as_list()) == ("float32", [None, BITS])
    [evaluation] = evaluation_batches(images, ROWS, 10).element_spec
    assert (evaluation.dtype, evaluation.shape.as_list()) == ("uint8", [None, 16, 16, 4])


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [(10, [10] * 5), (32, [24] * 2), (47, [24] * 2), (48, [48]), (100, [48]), (7, [7] * 7), (1, [1] * 48)],
)
def test_batches_are_equal_and_every_row_comes_once_an_epoch_but_for_those_that_fill_the_last(images, batch_size, sizes):
    batches = feed(images, range(2), batch_size, "none")
    assert [len(rows) for rows, _ in batches] == sizes * 2
    filling = set()
    for epoch in (batches[: len(sizes)], batches[len(sizes) :]):
        rows = np.concatenate([rows for rows, _ in epoch])
        assert sorted(rows[:48]) == ROWS.tolist()
        assert rows[48:].tolist() == rows[: len(rows) - 48].tolist()
        filling |= set(rows[48:])
    assert len(filling) == 2 * (sum(sizes) - 48)  # others in each epoch


@given(count=st.integers(0, 300), batch_size=st.integers(1, 310))
@settings(max_examples=200)
def test_batches_are_as_few_as_their_size_allows_and_fewer_items_come_twice_than_there_are_batches(count, batch_size):
    batches = equal_batches(np.arange(count), batch_size)
    assert batches.shape == batch_shape(count, batch_size)
    assert batches.ravel()[:count].tolist() == list(range(count))
    assert len(batches) == len(range(0, count, batch_size))
    assert 0 <= batches.size - count < max(len(batches), 1)
    assert batches.size == 0 or batches.shape[1] <= batch_size


def test_images_and_targets_belong_together(images):
    for rows, batch in feed(images, range(2), augmentation="none"):
        assert np.array_equal(batch, images[rows])


def test_the_order_differs_between_epochs_and_seeds(images):
    batches = feed(images, range(3), 48, "none") + feed(images, range(1), 48, "none", seed=4)
    orders = {tuple(rows) for rows, _ in batches} | {tuple(ROWS)}
    assert len(orders) == 5


def test_augmented_pixels_reach_the_batches(images):
    for number, (rows, batch) in enumerate(feed(images, range(2, 4))):
        epoch = 2 + number // 5
        assert np.array_equal(batch, augment(images[rows], rows, "report", 3, epoch))
        assert all(not np.array_equal(each, images[row]) for each, row in zip(batch, rows, strict=True))


def test_a_row_looks_different_in_every_epoch(images):
    first, second = (dict(zip(*batch, strict=True)) for batch in feed(images, range(2), 48))
    assert not any(np.array_equal(first[row], second[row]) for row in ROWS)


def test_a_feed_that_starts_later_continues_the_one_that_started_first(images):
    assert same(feed(images, range(3, 5)), feed(images, range(5))[15:])


def test_the_same_feed_twice_is_the_same(images):
    dataset = training_batches(Feed(images, TARGETS, ROWS, "report", "none", 3), 4, range(3))
    first = read(dataset)
    assert same(first, read(dataset))
    assert same(first, feed(images, range(3), 4))


def test_the_first_epochs_are_small_and_look_like_files_read_in_that_size(images, tmp_path):
    def grow(epochs):
        return read(training_batches(Feed(images, TARGETS, ROWS, "report", "none", 3, small_epochs=2), 48, epochs))

    whole, plain = grow(range(4)), feed(images, range(4), 48)
    assert [batch.shape for _, batch in whole] == [(48, 12, 12, 4)] * 2 + [(48, 16, 16, 4)] * 2  # 12 is 0.72 x 16, rounded
    assert same(whole[2:], plain[2:])
    assert same(grow(range(1, 4)), whole[1:])
    for (rows, small), (same_rows, large) in zip(whole[:2], plain[:2], strict=True):
        assert rows.tolist() == same_rows.tolist()
        for channel in range(4):
            write_image(tmp_path / f"{channel}.png", large[5, ..., channel])
        np.testing.assert_array_equal(small[5], read_image([tmp_path / f"{channel}.png" for channel in range(4)], HPA, 12))


@pytest.mark.parametrize("channels", [1, 2, 7])
def test_small_images_have_any_channels(channels):
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 20, channels), np.uint8)
    small = smaller(images)
    assert small.shape == (3, 14, 14, channels)
    for channel in range(channels):
        expected = [resized(np.ascontiguousarray(image[..., channel]), 14) for image in images]
        np.testing.assert_array_equal(small[..., channel], expected)


FACTORS = np.where(ROWS < 20, 2.5, 1)


def test_rows_are_repeated_and_every_copy_is_augmented_in_its_own_way(images):
    [(rows, batch)] = feed(images, range(1), 200, factors=FACTORS)
    found, times = np.unique(rows, return_counts=True)
    assert found.tolist() == ROWS.tolist()
    assert set(times[found < 20]) == {2, 3}
    assert set(times[found >= 20]) == {1}
    assert len({image.tobytes() for image in batch}) == len(batch) == 16 * 2.5 + 32


def test_a_repeating_feed_that_starts_later_continues_the_one_that_started_first(images):
    whole = feed(images, range(4), factors=FACTORS)
    assert [len(rows) for rows, _ in whole] == [9] * 8 * 4
    assert same(feed(images, range(2, 4), factors=FACTORS), whole[16:])
    first, second = (np.sort(np.concatenate([rows for rows, _ in whole[start : start + 8]])) for start in (0, 8))
    assert not np.array_equal(first, second)


def test_weights_come_with_their_rows_and_leave_the_rest_as_it_is(images):
    weights = np.linspace(0, 1, COUNT, dtype=np.float32)
    dataset = training_batches(Feed(images, TARGETS, ROWS, "report", "none", 3, FACTORS, weights), 10, range(1))
    weighted = list(dataset)
    assert [spec.shape.as_list() for spec in dataset.element_spec][2] == [None]
    assert same(read((batch, truth) for batch, truth, _ in weighted), feed(images, range(1), factors=FACTORS))
    for _, truth, found in weighted:
        rows = (truth.numpy() @ (1 << np.arange(BITS))).astype(int)
        assert found.dtype == "float32"
        assert np.array_equal(found, weights[rows])


@pytest.mark.parametrize("mixing", ["mix-up", "mosaic"])
def test_weights_are_mixed_as_targets_are(images, mixing):
    targets = np.eye(COUNT, dtype=np.uint8)  # so that a mixed target is the shares of all rows
    weights = np.linspace(0, 1, COUNT, dtype=np.float32)
    mixed = 0
    feed = Feed(images, targets, ROWS, "none", mixing, 3, weights=weights)
    for _, shares, found in training_batches(feed, 10, range(3)):
        assert found.numpy() == pytest.approx(shares.numpy() @ weights, abs=1e-6)
        mixed += (shares.numpy().max(axis=1) < 1).any()
    assert 0 < mixed < 15


def test_evaluation_is_in_order_and_untouched(images):
    rows = ROWS[::-1]
    batches = [batch.numpy() for (batch,) in evaluation_batches(images, rows, 10)]
    assert [len(batch) for batch in batches] == [10] * 5
    assert np.array_equal(np.concatenate(batches)[:48], images[rows])


def test_no_feed_has_the_thread_that_keeps_it_after_its_end(images):
    for batches in (
        training_batches(Feed(images, TARGETS, ROWS, "report", "none", 0), 10, range(1)),
        evaluation_batches(images, ROWS, 10),
    ):
        assert batches.options().autotune.enabled is False


def test_batches_are_plain_numpy_and_need_no_tensorflow(images):
    program = "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None; import hpa.data.feed"
    subprocess.run(
        [sys.executable, "-c", program], check=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    )
    feed = Feed(images, TARGETS, ROWS, "report", "mix-up", 3, FACTORS, np.linspace(0, 1, COUNT, dtype=np.float32))
    items = feed.order(2)
    batches = [feed.load(2, batch) for batch in equal_batches(items, 10)]
    for expected, batch in zip(training_batches(feed, 10, range(2, 3)), batches, strict=True):
        assert [part.dtype.name for part in batch] == ["uint8", "float32", "float32"]
        assert all(np.array_equal(one, other) for one, other in zip(expected, batch, strict=True))
