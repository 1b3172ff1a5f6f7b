"""A run's process that tells which modules it held at its start and which it loaded after. Imports nothing heavy."""

import os
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection

from portal_import.child import RunOrder, run_in_child


def run_and_tell(order: RunOrder, parent: Connection, answer: Connection, settings: Mapping[str, str]) -> None:
    """Do the run with these settings, and answer with both sets of names.

    The fork server may have been started by another test, and hands on the environment of that one.
    """
    os.environ.update(settings)
    before = set(sys.modules)
    run_in_child(order, parent)
    answer.send((before, set(sys.modules) - before))
