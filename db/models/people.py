"""Who signs in, and who changed what."""

from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, BigId, Instant, Now, TextId, one_of
from db.models.vocabulary import Role, SessionKind


class User(Base):
    __tablename__ = "users"
    __table_args__ = (
        one_of("role", Role),
        Index("uq_users_username", text("lower(username)"), unique=True),
        {"comment": "People who sign in"},
    )

    id: Mapped[TextId]
    username: Mapped[str] = mapped_column(comment="What the person signs in with; unique in any case")
    email: Mapped[str | None]
    name: Mapped[str] = mapped_column(comment="What pages call the person")
    password_hash: Mapped[str] = mapped_column(comment="bcrypt")
    role: Mapped[str] = mapped_column(server_default=Role.OPERATOR, default=Role.OPERATOR)
    time_zone: Mapped[str | None] = mapped_column(comment="IANA zone; NULL follows the browser")
    is_active: Mapped[bool] = mapped_column(server_default=text("true"), default=True)
    created_at: Mapped[Now]
    last_login_at: Mapped[Instant | None]


class UserSession(Base):
    __tablename__ = "user_sessions"
    __table_args__ = (
        one_of("kind", SessionKind),
        Index("ix_user_sessions_user_id", "user_id"),
        Index("ix_user_sessions_expires_at", "expires_at"),
        {"comment": "Signed-in browsers and API tokens; ended by revoked_at"},
    )

    token_hash: Mapped[str] = mapped_column(primary_key=True, comment="SHA-256, hex, of the cookie or token id")
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[str]
    created_at: Mapped[Now]
    expires_at: Mapped[Instant]
    revoked_at: Mapped[Instant | None]
    ip: Mapped[str | None]
    user_agent: Mapped[str | None]


class SignInAttempt(Base):
    __tablename__ = "sign_in_attempts"
    __table_args__ = (
        Index("ix_sign_in_attempts_username_at", "username", "at"),
        Index("ix_sign_in_attempts_ip_at", "ip", "at"),
        {"comment": "Refused sign-ins, for throttling by name and by address"},
    )

    id: Mapped[BigId]
    at: Mapped[Now]
    username: Mapped[str] = mapped_column(comment="Lower case, as typed; it need not exist")
    ip: Mapped[str]


class AuditEntry(Base):
    __tablename__ = "audit_log"
    __table_args__ = (
        Index("ix_audit_log_subject_at", "subject", text("at DESC")),
        Index("ix_audit_log_at", text("at DESC")),
        {"comment": "Who changed what; never a secret"},
    )

    id: Mapped[BigId]
    at: Mapped[Now]
    user_id: Mapped[str | None] = mapped_column(comment="Kept when the user goes")
    action: Mapped[str]
    subject: Mapped[str]
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    after: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
