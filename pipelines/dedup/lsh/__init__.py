"""Locality-sensitive hashing: shingles, MinHash signatures, bands, verified edges, clusters; in memory or in files."""
