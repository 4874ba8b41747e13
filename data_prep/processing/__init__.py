"""One photo to its training records: filters, regions, traces of the camera."""
