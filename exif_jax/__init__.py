"""EXIF as language in JAX: find splices by asking which patches were made by the same camera.

The public names are loaded on first use, so that data preparation can import
`exif_jax.reading` without importing JAX.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "localize_photo": "exif_jax.api",
    "verify_photo": "exif_jax.api",
    "LocalizationSettings": "exif_jax.forensics.methods",
    "embed_exif": "exif_jax.forensics.embed",
    "load_model": "exif_jax.weights.release_file",
    "read_photo": "exif_jax.reading.photo",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'exif_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__():
    return sorted(__all__)
