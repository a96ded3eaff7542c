"""The recipe of MNIST-M (Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 2016).

    x = 255 - p  where the digit has ink (glyph > 0)
    x = p        elsewhere

with p a 28x28 crop of a photograph. As |p - 255 * ink| that is the published difference.
"""

import numpy as np
from tqdm import tqdm

SIDE = 28


def blend(glyphs: np.ndarray, photos: list[np.ndarray], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Glyphs uint8 (N, 28, 28) over random crops of `photos`, each uint8 (H, W, 3), H, W >= 28.

    Gives images uint8 (N, 3, 28, 28) and masks uint8 (N, 1, 28, 28), 1 on ink. Photograph and
    upper left corner are uniform and drawn by `seed`.
    """
    rng = np.random.default_rng(seed)
    pick = rng.integers(len(photos), size=len(glyphs))
    height = np.array([photo.shape[0] for photo in photos])[pick]
    width = np.array([photo.shape[1] for photo in photos])[pick]
    begin = np.cumsum([0] + [photo.shape[0] * photo.shape[1] for photo in photos])[pick]
    top, left = rng.integers(height - SIDE + 1), rng.integers(width - SIDE + 1)
    pixels = np.concatenate([photo.reshape(-1, 3) for photo in photos])  # one after the other
    corner = begin + top * width + left  # index of each crop's upper left pixel
    row, column = np.arange(SIDE)[None, :, None], np.arange(SIDE)[None, None, :]
    images = np.empty((len(glyphs), 3, SIDE, SIDE), np.uint8)
    for i in tqdm(range(0, len(glyphs), 5000), "building MNIST-M", delay=2):
        part = slice(i, i + 5000)  # the index array is large
        index = corner[part, None, None] + row * width[part, None, None] + column
        images[part] = pixels[index].transpose(0, 3, 1, 2)
    masks = (glyphs > 0)[:, None].astype(np.uint8)
    images ^= masks * np.uint8(255)  # 255 - p is p with every bit turned
    return images, masks
