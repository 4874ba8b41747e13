"""Photos and metadata in, TFRecord shards out. Imports `exif_jax.exif` and `.photo`, never JAX."""

from exif_jax import cli

cli.explain_missing()
