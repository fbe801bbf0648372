"""Flax linen modules. They know nothing of losses, optimisers or data."""
