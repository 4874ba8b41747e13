"""Files of weights: ours and those of PyTorch."""
