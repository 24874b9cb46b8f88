"""What embeddings say of the data: likely wrong labels, shifts, clusters, what to label next."""
