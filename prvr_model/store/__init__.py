"""The feature store on disk: memory-mapped Arrow files that all trials of a machine share.

Offers `reader`, `writer`, `format` (the manifest), `recipe`, `annotations`, `summary`,
`label_needs` (what needs verified labels), `synthetic` (generated data), `sources` and `staging`
(copies of remote stores), and `importers`, which read the layouts that users have.
"""
