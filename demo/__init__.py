"""A small, fictional billing portal to try Punctual against; it imports nothing of Punctual."""
