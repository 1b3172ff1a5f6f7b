"""A run's process that tells which modules it held at its start and which it loaded after. Imports nothing heavy."""

import sys
from multiprocessing.connection import Connection

from portal_import.child import RunOrder, run_in_child


def run_and_tell(order: RunOrder, parent: Connection, answer: Connection) -> None:
    """Do the run, and answer with both sets of names."""
    before = set(sys.modules)
    run_in_child(order, parent)
    answer.send((before, set(sys.modules) - before))
