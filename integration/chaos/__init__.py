"""The chaos soak: hold data and compute while a Dask cluster is disturbed at random, and count what got lost.

`python -m integration.chaos` brings a Kubernetes of its own up and runs `soak` there. What is done, and in what order,
follows from a seed (`plan`); how it is done is in `faults`. Nothing that may lose data is done: no worker is
killed outright, and the scheduler is left alone.
"""
