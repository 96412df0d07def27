"""`python -m dask_k8s_operator`."""

from dask_k8s_operator.cli import main

main()
