"""How long a run's process takes from being asked for to its first line, in milliseconds. Imports nothing heavy:
the process loads this module after its fork.
"""

import json
import time
from multiprocessing.connection import Connection

STARTS = 60


def main() -> None:
    """Print the milliseconds of each start as JSON, the fork server being warm."""
    from scheduler_service.supervision import CHILDREN, start_fork_server

    start_fork_server()
    took: list[float] = []
    for _ in range(STARTS):
        answer, from_child = CHILDREN.Pipe(duplex=False)
        child = CHILDREN.Process(target=tell_first_line, args=(from_child,), daemon=True)
        began = time.monotonic()
        child.start()
        took.append((answer.recv() - began) * 1000)
        child.join()
        answer.close()
        from_child.close()
    print(json.dumps(took))  # noqa: T201


def tell_first_line(answer: Connection) -> None:
    """When the process has come this far; the monotonic clock is the machine's, not the process's."""
    answer.send(time.monotonic())
