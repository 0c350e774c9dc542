"""The model: encoders, attention, scale mixing, their fused forms, and its weight files.

Offers `model`, `encoding` (how the model encodes), `similarity` (scores), `model_file`,
`released_weights` (checkpoints of the released implementation), and of the fused forms
`fused_blocks` (where they are used), `row_steps` and `row_kernels` (loops for processors).
"""
