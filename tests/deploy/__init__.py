"""The files of `deploy/` and `example/` fit each other and the code: what can be said of them without an API server."""
