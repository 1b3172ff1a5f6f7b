"""What all tables share: names of constraints, types of columns, checks of a vocabulary's words."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Identity, MetaData, Numeric, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


def new_id() -> str:
    """A random key for users, jobs and results, whose keys an older system made as UUID text."""
    return str(uuid4())


def sql_list(values: type[StrEnum] | tuple[StrEnum, ...]) -> str:
    """The values as an SQL list, for CHECKs and partial indexes."""
    return ", ".join(f"'{v.value}'" for v in values)


def one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    """A CHECK that the column holds one of the enum's values (or NULL, where it may)."""
    return CheckConstraint(f"{column} IN ({sql_list(values)})", name=f"{column}_known")


TextId = Annotated[
    str, mapped_column(Text, primary_key=True, default=new_id, server_default=text("gen_random_uuid()::text"))
]
BigId = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]
Instant = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Now = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
Count = Annotated[int, mapped_column(server_default=text("0"), default=0)]
Seconds = Annotated[Decimal, mapped_column(Numeric(16, 3), server_default=text("0"), default=Decimal())]


class Base(DeclarativeBase):
    """Declares the naming convention and how Python types become columns."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {
        str: Text,
        dict[str, Any]: JSONB,
        list[dict[str, Any]]: JSONB,
        list[str]: ARRAY(Text),
        UUID: Uuid,
        Decimal: Numeric(14, 2),
    }
