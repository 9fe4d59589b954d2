"""The ports of reconcile on one machine: a folder of YAML, files for state, child processes for shards."""
