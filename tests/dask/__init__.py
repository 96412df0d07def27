"""Real schedulers and workers: what the operator relies on, and its own way of speaking to them."""
