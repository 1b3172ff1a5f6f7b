"""The process that executes jobs: fire, claim, execute, recover, purge. It never serves a page."""
