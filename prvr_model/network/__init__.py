"""The model: encoders, attention, scale mixing, their fused forms, and its weight files.

Offers `model`, `encoding` (how the model encodes), `similarity` (scores), `model_file`,
`released_weights` (checkpoints of the released implementation), and of the fused forms
`fused_blocks` (where they are used) and `row_steps` (loops for processors).
"""
