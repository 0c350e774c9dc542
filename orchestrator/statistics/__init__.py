"""Which differences are real: for new seeds of the same configuration and for new videos.

`outcomes` holds what is compared, `table` compares it and corrects over all comparisons, the laws
behind intervals and p-values are in `crossed`, `unpaired` and `two_part_law`; `comparison` judges
one of them, `several_data` judges over several data sets, `finished_models` judges single models on
new videos, `power` says how many seeds a difference needs, `racing` plans which variants get more
seeds, `selection` estimates how much of a chosen best value is luck, `ranking` orders by means,
`wording` puts verdicts into words. The room knows no study and no trial.
"""
