"""All input and output: one module for Kubernetes, one for schedulers."""
