"""A Dask client that runs in a pod of the Dask image, and the class that drives it from outside.

Client, scheduler and workers must have the same Python, and the machine that runs tests and demo may have another.
`program` is what runs in the pod; `relay` joins it to a process outside; `client` is the outside.
"""
