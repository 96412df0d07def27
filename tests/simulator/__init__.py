"""Autoscaling rules side by side: the same load on a model of Dask, in a virtual time, under each of them.

`python -m tests.simulator` prints the table that `docs/autoscaling.md` shows;
with `--plot docs/` it draws the pictures, too.
"""
