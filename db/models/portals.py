"""The portals: one row per login host."""

from typing import Any

from sqlalchemy import Boolean, CheckConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, BigId, Instant, Now, one_of
from db.models.vocabulary import DateOrder, Engine


class Portal(Base):
    __tablename__ = "portals"
    __table_args__ = (
        one_of("engine", Engine),
        one_of("date_order", DateOrder),
        CheckConstraint("max_concurrent_accounts BETWEEN 1 AND 64", name="concurrency_bounded"),
        CheckConstraint("min_seconds_between_requests >= 0", name="spacing_not_negative"),
        CheckConstraint("(authorised_at IS NULL) OR (authorised_by IS NOT NULL)", name="authorised_by_someone"),
        {"comment": "One per login host: how it is visited and how gently"},
    )

    id: Mapped[BigId]
    host: Mapped[str] = mapped_column(unique=True, comment="host or host:port of the login URL, lower case")
    engine: Mapped[str] = mapped_column(server_default=Engine.HTTP, default=Engine.HTTP)
    username_selector: Mapped[str | None] = mapped_column(comment="CSS; NULL finds the field by itself")
    password_selector: Mapped[str | None] = mapped_column(comment="CSS; NULL finds the field by itself")
    submit_selector: Mapped[str | None] = mapped_column(comment="CSS of the sign-in button; NULL finds it by itself")
    link_selector: Mapped[str | None] = mapped_column(comment="CSS of bill links; NULL finds them by itself")
    next_selector: Mapped[str | None] = mapped_column(comment="CSS of the link to the next page of bills")
    date_order: Mapped[str | None] = mapped_column(comment="How 03/04/2026 is meant; NULL leaves such dates unread")
    column_mapping: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB(none_as_null=True), comment="Field of a bill -> header of its column; NULL: by the usual wordings"
    )
    max_concurrent_accounts: Mapped[int] = mapped_column(server_default=text("2"), default=2)
    min_seconds_between_requests: Mapped[float] = mapped_column(
        server_default=text("0.05"), default=0.05, comment="Spacing held across runs and machines"
    )
    next_request_at: Mapped[Instant | None] = mapped_column(comment="When the next request may be sent")
    retry_after_at: Mapped[Instant | None] = mapped_column(
        comment="The portal asked for no requests before this instant (Retry-After)"
    )
    recent_refusals: Mapped[list[bool]] = mapped_column(
        ARRAY(Boolean),
        server_default=text("'{}'"),
        default=list,
        comment="Of the last ten sign-ins, those since the first refused one: whether refused, newest last",
    )
    breaker_open_until: Mapped[Instant | None] = mapped_column(comment="No sign-ins before this instant")
    breaker_reason: Mapped[str | None]
    authorised_by: Mapped[str | None] = mapped_column(comment="User id; kept when the user goes")
    authorised_at: Mapped[Instant | None]
    version: Mapped[int] = mapped_column(
        server_default=text("1"),
        default=1,
        comment="Counts changes, so that none is overwritten unseen",
    )
    created_at: Mapped[Now]
