"""The whole operator against a Kubernetes API in the test process: its requests, and what it does when they fail.

The API is kmock, which keeps objects and sends watch events. It is no evidence of label selectors, of conflicts by
resourceVersion or uid, of validation, of subresources as such or of garbage collection: it has none of them.
"""
