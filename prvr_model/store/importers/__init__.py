"""Readers of the feature layouts that users have, each into a feature store.

Offers `importing`, `layouts`, `corpus` (what a user chooses about an import, and what it tells),
`annotating` (files of moments, lengths and verified labels), `annotation_files`,
`annotation_forms` and `annotation_names` (captions in the forms that users have), `sanity`
(features that cannot be meant) and `splitting`.
"""
