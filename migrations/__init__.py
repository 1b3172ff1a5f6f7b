"""The history of the tables, forward only. Run by `db.migrate`."""
