"""The state, in one database."""
