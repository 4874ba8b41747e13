"""Files that appear whole or not at all, TFRecords and text."""
