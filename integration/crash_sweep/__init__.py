"""A sweep over the operator's requests: each of them meets each fault, in the middle of a scale-down that holds data.

After Sieve (Sun et al., OSDI '22), whose three kinds of perturbation are here: intermediate states (the operator is
killed or misled at a request), stale states (reads from the past, watches that lag) and unobserved states (events that
never arrive). The operator is a process of its own, Kubernetes and Dask are real, and everything that it asks of either
goes through a proxy in the test process.
"""
