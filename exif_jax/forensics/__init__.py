"""From the patches of a photo to affinities, maps, scores and probabilities."""
