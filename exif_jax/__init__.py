"""EXIF as language in JAX: find splices by asking which patches were made by the same camera.

The public names are loaded on first use, so that data preparation can import
`exif_jax.exif` and `exif_jax.photo` without importing JAX.
"""

import importlib

from exif_jax import cli

__version__ = "0.1.0"

_HOMES = {
    "localize": "exif_jax.localize",
    "verify": "exif_jax.verify",
    "embed_exif": "exif_jax.embed",
    "load_model": "exif_jax.release",
    "read_photo": "exif_jax.photo",
}
__all__ = ["__version__", *_HOMES]


cli.explain_missing()


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'exif_jax' has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name])
    # `localize` and `verify` are both modules of commands and, being callable, functions.
    return module if _HOMES[name] == f"exif_jax.{name}" else getattr(module, name)


def __dir__():
    return sorted(__all__)
