"""What tests of the sign-in saw at the portals."""

from sqlalchemy import BigInteger, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Instant


class SignInSample(Base):
    __tablename__ = "sign_in_samples"
    __table_args__ = (
        Index("ix_sign_in_samples_portal_id_run_id", "portal_id", text("run_id DESC")),
        {"comment": "The bill table that a sign-in test saw, for correcting how the portal's bills are read"},
    )

    run_id: Mapped[int] = mapped_column(ForeignKey("import_runs.id", ondelete="CASCADE"), primary_key=True)
    portal_id: Mapped[int] = mapped_column(ForeignKey("portals.id", ondelete="CASCADE"))
    account_id: Mapped[int | None] = mapped_column(BigInteger, comment="Whose bills they are; it may be gone")
    taken_at: Mapped[Instant]
    headers: Mapped[list[str]] = mapped_column(comment="The texts of the table's header cells, in their order")
    rows: Mapped[list[list[str]]] = mapped_column(JSONB, comment="The texts of its first rows, as they stood")
