"""Decisions as tables: pure values in, pure values out, and the few parts around them that need no server."""
