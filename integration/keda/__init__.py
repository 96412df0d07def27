"""KEDA itself, out of its Go module, on the cluster for tests."""
