"""Copies among images."""

from collections import Counter
from itertools import combinations

import cv2
import numpy as np
import pytest
from PIL import Image

from hpa.data.duplicates import (
    BLOCK,
    LARGE_GROUP,
    SIDE,
    Copies,
    copies_table,
    count_pairs,
    digest,
    find_copies,
    near_pairs,
    read_fingerprints,
    read_sets,
    thumbnail,
)
from hpa.errors import BadInput
from hpa.tasks import HEP2


def cells(count, channels=1, side=78, seed=0):
    """Round cells with a texture of their own, which all lie in the middle: uint8 [count, side, side, channels]."""
    random = np.random.default_rng(seed)
    across = np.linspace(-1, 1, side)
    disc = 1 / (1 + np.exp(15 * (np.hypot(*np.meshgrid(across, across)) - 0.7)))
    texture = [cv2.GaussianBlur(random.standard_normal((side, side)), (0, 0), 2) for _ in range(count * channels)]
    images = np.array([disc * (100 + 300 * each) for each in texture]).reshape(count, channels, side, side)
    return np.clip(np.moveaxis(images, 1, -1), 0, 190).astype(np.uint8)


def fingerprints(images):
    return np.array([digest(image) for image in images]), np.array([thumbnail(image) for image in images])


def resized(image, factor):
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[1::-1])


def recompressed(image):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1], cv2.IMREAD_GRAYSCALE)


EDITS = {
    "recompressed": recompressed,
    "one level more": lambda image: image + 1,
    "one level less": lambda image: np.maximum(image, 1) - 1,
    "95 % and back": lambda image: resized(image, 0.95),
    "105 % and back": lambda image: resized(image, 1.05),
    "left at 110 %": lambda image: cv2.resize(image, None, fx=1.1, fy=1.1),
    "darker": lambda image: (0.5 * image).astype(np.uint8),
    "brighter": lambda image: (1.3 * image).astype(np.uint8),
    "a pixel aside": lambda image: np.roll(image, 1, axis=1),
    "contrast": lambda image: (20 + 0.8 * image).astype(np.uint8),
}


@pytest.mark.parametrize("channels", [1, 4, 6])
@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edited_copy_is_found_and_nothing_else(edit, channels):
    images = list(cells(6, channels))
    images.append(np.dstack([edit(channel) for channel in cv2.split(images[4])]))
    copies = find_copies(*fingerprints(images))
    assert copies.group.tolist() == [0, 1, 2, 3, 4, 5, 4]
    assert len(set(copies.picture)) == 7
    assert [set(pair) for pair in copies.near] == [set(copies.picture[[4, 6]])]


def test_channels_may_be_brightened_apart():
    images = list(cells(3, 4))
    images.append((images[0] * [0.4, 1, 0.7, 1.3]).astype(np.uint8))
    assert find_copies(*fingerprints(images)).group.tolist() == [0, 1, 2, 0]


def test_one_equal_channel_does_not_make_a_copy():
    one, other = cells(2, 4)
    other[..., 0] = one[..., 0]
    assert find_copies(*fingerprints([one, other])).group.tolist() == [0, 1]


def test_an_empty_channel_says_nothing():
    images = cells(3, 2)
    images[..., 1] = 0
    darker = images[1] // 2
    filled = images[2].copy()
    filled[..., 1] = cells(1, seed=9)[0, ..., 0]
    assert find_copies(*fingerprints([*images, darker, filled])).group.tolist() == [0, 1, 2, 1, 3]


def test_exact_copies_are_told_from_near_ones_and_joined_with_them():
    one, other, third = cells(3)
    copies = find_copies(*fingerprints([one, other, one, other + 1, other, third]))
    assert copies.group.tolist() == [0, 1, 0, 1, 1, 2]
    same = copies.picture[:, np.newaxis] == copies.picture
    assert np.argwhere(np.triu(same, 1)).tolist() == [[0, 2], [1, 4]]
    assert [set(pair) for pair in copies.near] == [set(copies.picture[[1, 3]])]


def test_pairs_are_counted_as_by_looking_at_every_two_images():
    random = np.random.default_rng(0)
    picture, sets = random.integers(0, 9, 40), random.integers(0, 3, 40)
    near = np.array([[0, 1], [1, 2], [7, 4]])
    expected = Counter()
    for one, other in combinations(range(40), 2):
        both = {picture[one], picture[other]}
        kind = "exact" if len(both) == 1 else "near" if both in ({0, 1}, {1, 2}, {4, 7}) else None
        names = [f"s{number}" for number in sorted({sets[one], sets[other]})]
        if kind:
            expected[kind, f"within {names[0]}" if len(names) == 1 else " + ".join(names)] += 1
    assert len(expected) > 8
    counted = count_pairs(Copies(np.zeros(40), picture, near), [f"s{number}" for number in range(3)], sets)
    assert list(counted) == ["kind", "sets", "pairs"]
    assert {row[:2]: row[2] for row in counted.itertuples(index=False, name=None)} == expected
    assert len(counted) == len(expected)


def test_the_kind_is_that_of_the_row(tmp_path):
    one, other = cells(2)[..., 0]
    (tmp_path / "train/Golgi").mkdir(parents=True)
    for name, image in (("a", one), ("b", one), ("c", one + 1), ("d", other)):
        Image.fromarray(image).save(tmp_path / f"train/Golgi/{name}.png")
    table, pairs = copies_table(tmp_path, read_sets(tmp_path, HEP2), HEP2)
    assert dict(zip(table["Id"], table["kind"], strict=True)) == {"a": "exact", "b": "exact", "c": "near"}
    assert table["group"].tolist() == [0, 0, 0]
    assert pairs.to_numpy().tolist() == [["exact", "within train", 1], ["near", "within train", 2]]


def test_even_images_are_copies_only_if_they_are_equal():
    even = [np.full((60, 60, 1), value, np.uint8) for value in (0, 5, 0, 200)]
    assert find_copies(*fingerprints(even)).group.tolist() == [0, 1, 0, 2]


def test_the_same_pixels_in_another_shape_are_not_equal():
    image = cells(1)[0]
    assert digest(image) != digest(image.reshape(39, 156, 1))
    assert digest(image) == digest(np.asfortranarray(image))


def test_mirrored_cells_are_not_looked_for():
    image = cells(1)[0]
    assert find_copies(*fingerprints([image, image[:, ::-1]])).group.tolist() == [0, 1]


def test_pairs_are_found_within_and_across_blocks():
    thumbnails = np.random.default_rng(0).integers(0, 200, (BLOCK + 9, SIDE, SIDE, 1), np.uint8)
    planted = [(3, 7), (5, BLOCK + 4), (BLOCK + 1, BLOCK + 8)]
    for original, copy in planted:
        thumbnails[copy] = thumbnails[original] + 2
    assert sorted(map(tuple, near_pairs(thumbnails).tolist())) == planted


def test_a_faulty_image_is_named(tmp_path):
    Image.fromarray(cells(1)[0, ..., 0]).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(BadInput, match=r"bad\.png is truncated"):
        read_fingerprints([[tmp_path / "good.png"], [tmp_path / "bad.png"]], HEP2)


def test_a_folder_without_sets(tmp_path):
    with pytest.raises(BadInput, match=r"no train/, external/, validation/ or test/"):
        read_sets(tmp_path, HEP2)


def test_real_cells(shared_data, tmp_path):
    """Some of the pairs of equal cells that the data is known to have, all of this class, and 194 ids apart."""
    real = shared_data / "hep2/train/NuMem"
    folder = tmp_path / "train/NuMem"
    folder.mkdir(parents=True)
    for file in real.glob("*.png"):
        if 10_900 <= int(file.stem) <= 11_300:
            (folder / file.name).symlink_to(file)
    files = sorted(folder.iterdir())
    pixels = [np.array(Image.open(file)).tobytes() for file in files]
    table, pairs = copies_table(tmp_path, read_sets(tmp_path, HEP2), HEP2)
    repeated = {file.stem for file, each in zip(files, pixels, strict=True) if pixels.count(each) == 2}
    assert len(repeated) > 50
    assert repeated <= set(table["Id"])
    assert set(table["Id"][table["kind"] == "exact"]) == repeated
    assert pairs["pairs"][pairs["kind"] == "exact"].tolist() == [len(repeated) // 2]
    near = table[table["kind"] == "near"]
    assert len(near) < 40  # of some 270 cells of few specimens, which look much alike


def test_groups_are_the_same_however_many_pairs_are_compared(monkeypatch):
    images = cells(5)
    alike = [np.clip(image.astype(int) + level, 0, 255).astype(np.uint8) for image in images for level in range(-3, 4)]
    order = np.random.default_rng(1).permutation(len(alike))
    given = fingerprints([alike[place] for place in order])
    whole = find_copies(*given)
    assert len(whole.near) == 5 * 21  # all pairs of the seven of each image
    monkeypatch.setattr("hpa.data.duplicates.LARGE_GROUP", 3)
    fewer = find_copies(*given)
    assert fewer.group.tolist() == whole.group.tolist()
    assert len(set(whole.group)) == 5
    assert 5 * 6 <= len(fewer.near) < len(whole.near)
    assert set(map(tuple, fewer.near.tolist())) < set(map(tuple, whole.near.tolist()))


def test_hundreds_that_all_look_alike_are_one_group_in_a_moment(monkeypatch):
    from hpa.data import duplicates

    compared = []
    similarity = duplicates._fine_similarity
    monkeypatch.setattr(duplicates, "_fine_similarity", lambda *two: compared.append(1) or similarity(*two))
    [texture] = np.random.default_rng(0).integers(20, 180, (1, SIDE, SIDE, 1))
    thumbnails = (texture + np.random.default_rng(1).integers(0, 3, (600, SIDE, SIDE, 1))).astype(np.uint8)
    pairs = near_pairs(thumbnails)
    assert set(pairs.ravel().tolist()) == set(range(600))
    assert len(compared) < 600 * LARGE_GROUP  # of 179,700 pairs
