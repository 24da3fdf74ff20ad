"""Near-duplicates: MinHash, embeddings, clusters."""
