"""Records on disk to batches on the mesh, and the image operations that run there."""
