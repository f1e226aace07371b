"""One run: the loop and all that changes in it, what it leaves, where it computes."""
