"""`prvr-sweep doctor`: each check, made to fail."""
