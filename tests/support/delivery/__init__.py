"""The delivery checker: histories of one run, recorded with one clock, and a pure judge of them.

Three histories are laid beside each other: what the broker's market did and sent (the simulator's tape), what each
shard says it did with it (its ledger, the fence records), and what a subscriber received (messages as they came, and
what the client library gave out). `check` reads them and answers with violations of seven properties; it knows nothing
of how the run was made, so the same judge serves component tests, chaos and the cluster.

`history` holds the values, `check` the judge (one module a property), `recorder` fills a history from a running system.
"""
