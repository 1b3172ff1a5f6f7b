"""The occurrences of random rules near clock changes, compared with independent readings of Debian cron.

`python -m tests.recurrence_full` (make test-recurrence) compares 200,000 and more; the unit tests a fixed
part of the same cases. docs/recurrence.md says which reading decides where.
"""
