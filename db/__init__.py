"""Postgres, the only truth: models, and one module of verbs per noun.

Verbs take a session and never commit: the caller owns the transaction. SQL lives only in here.
"""
