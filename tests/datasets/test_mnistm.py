"""mnistm: the published recipe."""

import numpy as np

from hw2lib.datasets.mnistm import blend


def test_blend_inverts_ink_and_keeps_the_rest():
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (28, 28, 3), np.uint8)  # one crop only is possible
    glyphs = (rng.random((5, 28, 28)) < 0.3).astype(np.uint8) * 7
    images, masks = blend(glyphs, [photo], seed=0)
    plain = np.broadcast_to(photo.transpose(2, 0, 1), images.shape)
    assert np.array_equal(images, np.where(glyphs[:, None] > 0, 255 - plain, plain))
    assert np.array_equal(masks[:, 0], glyphs > 0)


def test_blend_crops_lie_in_one_photograph():
    photos = [np.full((30 + i, 50 - i, 3), 10 * i, np.uint8) for i in range(5)]
    images, _ = blend(np.zeros((300, 28, 28), np.uint8), photos, seed=3)
    flat = images.reshape(300, -1)
    assert (flat == flat[:, :1]).all() and set(flat[:, 0]) == {0, 10, 20, 30, 40}


def test_blend_reaches_every_corner_and_follows_its_seed():
    photo = np.arange(29 * 30).reshape(29, 30, 1).repeat(3, 2).astype(np.uint8)
    glyphs = np.zeros((200, 28, 28), np.uint8)
    images, _ = blend(glyphs, [photo], seed=0)
    assert len({image.tobytes() for image in images}) == 2 * 3  # 2 rows by 3 columns of corners
    assert np.array_equal(images, blend(glyphs, [photo], seed=0)[0])
    assert not np.array_equal(images, blend(glyphs, [photo], seed=1)[0])
