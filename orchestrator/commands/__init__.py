"""Commands of `prvr-sweep`, one module each."""
