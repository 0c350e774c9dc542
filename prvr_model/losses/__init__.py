"""Loss terms of MSC: pure functions on tensors and masks."""
