"""What a photo's file says of itself, held against what it is; no network, no model, no JAX."""
