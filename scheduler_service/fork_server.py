"""What the fork server loads before it forks: all that a run imports. Nothing else imports this module.

The fork server ends by itself once scheduler_service and every run are gone. Until then it must live: a
SIGTERM for a whole process group or control group (honcho, systemd) reaches it too, and without it the
supervisors would take every run for dead.
"""

import signal

import portal_import.run  # noqa: F401  # pyright: ignore[reportUnusedImport]

signal.signal(signal.SIGTERM, signal.SIG_IGN)
