"""Which differences are real: for new seeds of the same configuration and for new videos.

`outcomes` holds what is compared, `table.make_table` compares it and corrects over all comparisons,
`crossed` and `two_part_law` are the law behind intervals and p-values, `power` says how many seeds
a difference needs, `racing` plans which variants get more seeds, `selection` estimates how much of
a chosen best value is luck.
"""
