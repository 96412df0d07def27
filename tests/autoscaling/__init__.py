"""What the tests of autoscalers on a real Kubernetes rest on."""
