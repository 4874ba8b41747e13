"""Where photos come from: folders, buckets and img2dataset's tar shards."""
