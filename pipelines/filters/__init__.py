"""Rules that reject a row, by name."""
