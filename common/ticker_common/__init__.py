"""Ground that every program of the house stands on: logging with redaction, settings from environment and flags."""
