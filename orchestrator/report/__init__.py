"""The report of a sweep: what was asked, the answer, the table, how it came about."""
