"""What the verbs of this package raise; the docstring is the message where none is given."""


class PunctualError(Exception):
    """Something could not be done."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__ or "")


class NotFoundError(PunctualError):
    """There is no such thing, or it belongs to someone else."""


class NotAllowedError(PunctualError):
    """Your role may look but not change anything."""


class ConflictError(PunctualError):
    """This cannot be done in the present state."""


class PortalNotAuthorisedError(PunctualError):
    """Nobody has confirmed yet that these accounts may be used on this portal."""


class LeaseLostError(PunctualError):
    """The claim on this run was lost to another worker."""
