"""Training records to batches."""
