"""The report of a sweep: the question, the answer, the evidence and its origin.

`reading` reads a sweep, `findings` says what it found, `build` makes a document of blocks from
that (`document`), and `html`, `latex`, `markdown` and `numbers` write it; `formats` writes any
document. `publishing` offers `report(home, sweep)`, `render(findings, format)` and `publish(...)`;
`model_card` describes a registered model, `formatting` has numbers as text. Of several data sets
`joint_findings`, `joint_publishing` and `transfer` (winners on the other data sets) are the same.
"""
