"""The shard process: supervisor, signals, status, probes, metrics."""
