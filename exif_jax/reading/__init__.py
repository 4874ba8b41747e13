"""Untrusted files to pixels and EXIF. Imports no JAX."""
