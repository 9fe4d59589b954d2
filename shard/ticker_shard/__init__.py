"""The data plane: one account's sockets, ticks and batched publishing."""
