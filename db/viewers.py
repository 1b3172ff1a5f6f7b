"""The person on whose behalf something is read or done."""

from dataclasses import dataclass

from db.models import Role


@dataclass(frozen=True)
class Viewer:
    """A signed-in user, as far as reading and writing depend on who it is."""

    user_id: str
    username: str
    name: str
    role: Role
    time_zone: str | None = None

    @property
    def is_admin(self) -> bool:
        """Sees and touches everyone's jobs."""
        return self.role is Role.ADMIN

    @property
    def may_write(self) -> bool:
        """May create, change and run jobs; the others only look."""
        return self.role is not Role.VIEWER
