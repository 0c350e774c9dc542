"""The model: encoders, attention, scale mixing, their fused forms, and its weight files.

Offers `model`, `encoding` (how the model encodes), `similarity` (scores) and `model_file`.
"""
