"""Tests that need nothing but pip packages."""
