"""How a failing database is told: in one line, without the statement and its values."""


def describe_outage(error: BaseException) -> str:
    """The first line of the driver's message, or the error's name where it has none."""
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__
