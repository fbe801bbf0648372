"""A renderer of synthetic faces in JAX: people and scenes drawn from a seed, heads as signed distance fields."""
