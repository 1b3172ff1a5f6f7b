"""What a run does: read the accounts, sign in to the portal, collect and store the bills."""
