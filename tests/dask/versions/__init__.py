"""Schedulers and workers of other versions of Dask than the operator's own, each in an environment of its own.

`nox -s dask` runs these, too: making the environments takes a minute the first time, and so does starting all the
processes every time.
"""
