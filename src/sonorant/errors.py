"""Which errors are failures of the machine or the training and not a user's mistake."""

FAILURES = ("CheckpointError", "DivergedError")


def is_failure(error: Exception) -> bool:
    """By name, so that telling needs no torch."""
    return type(error).__name__ in FAILURES
