"""A Kubernetes operator that runs Dask clusters and retires their workers gracefully."""

__version__ = "0.1.0"
