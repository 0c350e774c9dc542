"""Answers typed sentences with videos and seconds: a model's galleries, queries, the service.

Offers `gallery` (an open one, which answers) with `answers`, `building` and `sources` (where its
videos come from), and `models` (a registered version, a trial or a folder, by its name) and
`token_files`. Of the service it offers `running`, with `replicas` (what Ray Serve runs), `service`
(HTTP) and `guards` (tokens, limits, the log).
"""
