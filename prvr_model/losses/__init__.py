"""The loss terms of MSC and their sum: pure functions on tensors and masks.

Offers `objective` (all terms of a batch) and `triplet` (its draws); the other terms are `infonce`,
`tcpl` (with its `angles`) and `cbva`.
"""
