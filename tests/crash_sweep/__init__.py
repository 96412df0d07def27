"""The pure parts of the crash sweep."""
