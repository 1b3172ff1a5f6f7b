"""What the fork server loads before it forks: all that a run imports. Nothing else imports this module.

The fork server ends by itself once scheduler_service and every run are gone. Until then it must live: a
SIGTERM for a whole process group or control group (honcho, systemd) reaches it too, and without it the
supervisors would take every run for dead. It starts no thread: a fork copies a thread's locks, not the thread.
"""

import gc
import signal
from importlib import import_module

from sqlalchemy.orm import configure_mappers

import portal_import.run  # noqa: F401  # pyright: ignore[reportUnusedImport]
from db.storage_address import load_file_system_class
from settings import read_settings

LOADED_AT_FIRST_USE = (
    "encodings.idna",  # when a host name is looked up
    "fsspec.implementations.chained",  # when a storage is opened
    "psycopg2.extras",  # when an engine connects
)

signal.signal(signal.SIGTERM, signal.SIG_IGN)
for name in LOADED_AT_FIRST_USE:
    import_module(name)
configure_mappers()
load_file_system_class(read_settings().effective_storage_url)
gc.collect()
gc.freeze()  # what is loaded stays: a run need not search it for garbage, and so copy its pages
