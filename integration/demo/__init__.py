"""The demo: scale a computing Dask cluster up and down on a real Kubernetes, and count what got lost.

`python -m integration.demo` brings the cluster up; `scenario` runs where that cluster's network can be reached.
"""
