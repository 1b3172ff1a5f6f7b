"""The scheduler's processes and the outbox of messages."""

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, BigId, Count, Instant, Now, TextId, one_of
from db.models.vocabulary import NotificationState


class SchedulerInstance(Base):
    __tablename__ = "scheduler_instances"
    __table_args__ = ({"comment": "scheduler_service processes and when each last made progress"},)

    id: Mapped[TextId]
    host: Mapped[str]
    pid: Mapped[int]
    version: Mapped[str]
    slots: Mapped[int]
    cluster: Mapped[str | None] = mapped_column(
        comment="The Dask cluster whose slots it uses, which others may use too; NULL: they are its own"
    )
    zone_rules: Mapped[str | None] = mapped_column(comment="Version of the time zone rules that it fires by")
    key_marks: Mapped[list[str] | None] = mapped_column(comment="Tell which secret keys it was started with")
    started_at: Mapped[Now]
    last_seen_at: Mapped[Now]
    last_fire_at: Mapped[Instant | None] = mapped_column(comment="End of the last fire pass that succeeded")
    stopped_at: Mapped[Instant | None]


class Notification(Base):
    __tablename__ = "notifications"
    __table_args__ = (
        one_of("state", NotificationState),
        Index("ix_notifications_pending", "run_after", "id", postgresql_where=text("state = 'pending'")),
        Index("ix_notifications_run_id", "run_id"),
        {"comment": "Outbox of messages to people"},
    )

    id: Mapped[BigId]
    run_id: Mapped[int | None] = mapped_column(ForeignKey("import_runs.id", ondelete="CASCADE"))
    cause: Mapped[str]
    channel: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=NotificationState.PENDING, default=NotificationState.PENDING)
    attempts: Mapped[Count]
    run_after: Mapped[Now]
    created_at: Mapped[Now]
    sent_at: Mapped[Instant | None]
    error: Mapped[str | None]
