"""`dask worker --preload tests.dask_stubs`: a job whose name is a stub's is run by that stub, any other for real."""

from multiprocessing.connection import Connection

from sqlalchemy import create_engine, text

from portal_import.child import RunOrder, run_in_child
from scheduler_service import supervision
from tests import child_processes, dask_stubs


def run_by_name(order: RunOrder, parent: Connection) -> None:
    """Runs in the child."""
    engine = create_engine(order.database_url)
    with engine.connect() as connection:
        name = connection.scalar(
            text("SELECT s.name FROM import_sessions s JOIN import_runs r ON r.session_id = s.id WHERE r.id = :run_id"),
            {"run_id": order.run_id},
        )
    engine.dispose()
    child_processes.BY_NAME.get(str(name), run_in_child)(order, parent)


def dask_setup(worker: object) -> None:
    """Dask calls this when the worker starts."""
    supervision.run_in_child = dask_stubs.run_by_name
