"""Tests of the local node on the real machine, with clusters of their own beside the one that other tests use."""
