"""From rows to Redis: batches, encodings, the fence, the hand-over between processes, the ledger."""
