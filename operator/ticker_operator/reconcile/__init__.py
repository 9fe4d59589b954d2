"""The level-triggered loop: store, reloader, one pass, back-off. Knows the world only through its ports."""
