"""The REST API: JSON over the same verbs of `db` that the pages use."""
