"""Image lists to batches: datasets, transforms, samplers, loaders."""
