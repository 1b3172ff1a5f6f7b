"""Bills as files for other programs."""
