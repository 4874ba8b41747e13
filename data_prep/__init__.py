"""Photos and metadata in, TFRecord shards out. Imports `exif_jax.reading`, never JAX."""

from exif_jax.cli import command

command.explain_missing()
