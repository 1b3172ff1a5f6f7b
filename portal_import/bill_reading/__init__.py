"""Reads a bill table's headers and cells: text in, values out. Knows no page, no portal and no database."""
