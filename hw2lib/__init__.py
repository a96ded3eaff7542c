"""hw2lib: conditional diffusion, DDIM sampling of faces, and domain-adversarial training.

Each module can be read from top to bottom; start with `diffusion`, `face_unet` or `dann`.
"""

__version__ = "0.1.0"
