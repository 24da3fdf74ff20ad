"""Vectors of texts: encoders, the search for close ones, and those that earlier runs kept."""
