"""From queries and documents to runs and figures: collections, BM25, training, reranking, evaluation."""
