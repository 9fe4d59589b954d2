"""Side-by-side measurements: each beside its peer, interleaved in one run; ratios are what to trust."""
