"""Pre-training methods: what is learned, and how a step learns it."""
