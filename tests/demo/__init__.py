"""What the demo prints and when it fails, without a cluster."""
