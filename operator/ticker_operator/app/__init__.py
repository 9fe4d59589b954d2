"""Entry points: kopf registration, supervisor, probes, metrics and the command line. The only room that knows kopf."""
