"""All photos together to a folder of records: selection, split, shards, statistics."""
