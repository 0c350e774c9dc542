"""The report of a sweep: what was asked, the answer, the evidence, where it is from.

`reading` reads a sweep, `findings` says what it found, `build` makes a document of blocks from
that, and `html`, `latex`, `markdown` and `numbers` write it. `publishing` offers `report(home,
sweep)`, `render(findings, format)` and `publish(...)`.
"""
