"""Everything that needs a real Kubernetes: scenarios, the demo, and the disposable cluster they run on."""
