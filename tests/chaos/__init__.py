"""The parts of the chaos soak that need no Kubernetes."""
