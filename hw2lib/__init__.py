"""hw2lib: conditional diffusion, DDIM sampling of faces, and domain-adversarial training.

The methods are the modules on top and `models`; start with `diffusion`, `samplers` or `adaptation`.
"""

__version__ = "0.1.0"
