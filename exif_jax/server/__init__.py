"""The local page: uploads, a queue, one worker process, and who may ask (see `exif_jax.serve`)."""
