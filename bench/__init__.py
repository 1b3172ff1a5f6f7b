"""Measurements of the product against its peers; speed is measured here and asserted in no test."""
