"""Photos and metadata from the network."""
