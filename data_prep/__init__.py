"""Photos and metadata in, TFRecord shards out. Imports `exif_jax.reading`, never JAX."""
