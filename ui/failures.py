"""What a page says when it could not be drawn. Details go to the log, never to the page."""

import logging
import secrets

import streamlit as st
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

DATABASE_AWAY = (
    "The database is not reachable at the moment. Nothing is lost: runs and schedules go on where they stopped "
    "as soon as it answers again. Reload the page then."
)

logger = logging.getLogger("punctual.pages")


def show_failure(error: Exception) -> bool:
    """Say in words what happened; True, because nothing else needs to be shown."""
    if isinstance(error, (DBAPIError, PoolTimeoutError)) and is_connection_trouble(error):
        logger.error("the database cannot be reached: %s", str(getattr(error, "orig", error)).strip().splitlines()[0])
        st.error(DATABASE_AWAY, icon=":material/cloud_off:")
        return True
    number = secrets.token_hex(4)
    logger.error("page failure %s", number, exc_info=error)
    st.error(
        f"This page could not be shown. The reason is in the web's log under the number {number}.",
        icon=":material/error:",
    )
    return True


def is_connection_trouble(error: DBAPIError | PoolTimeoutError) -> bool:
    """Whether the database is away, rather than a statement wrong."""
    if isinstance(error, PoolTimeoutError) or error.connection_invalidated:
        return True
    sql_state = getattr(error.orig, "pgcode", None)
    if sql_state is None:
        return isinstance(error, (OperationalError, InterfaceError))
    return sql_state.startswith(("08", "57P"))
