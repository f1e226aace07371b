"""Pictures: the only place that reads or writes them, and their sizes."""
