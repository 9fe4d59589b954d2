"""The control plane: plans which account streams what, and makes it so."""
