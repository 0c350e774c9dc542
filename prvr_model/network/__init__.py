"""The model: encoders, attention, scale mixing, their fused forms, and its weight files.

Offers `model`, `encoding` (how the model encodes), `similarity` (scores), `model_file` and
`released_weights` (checkpoints of the released implementation).
"""
