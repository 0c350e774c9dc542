"""Which differences between variants are real: seeds and videos crossed, corrected, in words."""
