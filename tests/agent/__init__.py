"""The agent of the integration tests and the demo: what it says was lost, recomputed or changed really was."""
