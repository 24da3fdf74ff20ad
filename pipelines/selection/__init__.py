"""All-row decisions other than dedup: which rows of a stage go on, chosen over all of them."""
