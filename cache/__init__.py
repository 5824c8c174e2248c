"""The store: profiles, graphs, plans and runs in one SQLite file."""
