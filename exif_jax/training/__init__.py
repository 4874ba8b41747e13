"""The training state, the loss, the optimizer and what a run needs around them."""
