"""What looks at a run while it goes on: one file a watcher (watcher.py says what one is)."""
