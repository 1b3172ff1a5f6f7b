"""Visits portals: signs in, reads the billing page, downloads the documents. Knows no database."""
