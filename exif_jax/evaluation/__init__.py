"""Datasets, metrics and the tables made of them."""
