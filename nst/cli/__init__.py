"""The command line: Hydra, config to objects, the jobs of a sweep."""
