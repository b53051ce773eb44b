"""Puts this folder on the path, so that all tests find what they share (``small_networks``)."""
