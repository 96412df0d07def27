"""One disposable Kubernetes cluster per checkout, for the tests, the demo and a curious person."""
