"""The MSC model for partially relevant video retrieval: data, mathematics and training loop.

"The MSC paper" is "Mitigating Semantic Collapse in Partially Relevant Video Retrieval", NeurIPS
2025, arXiv 2510.27432. Where paper and released code disagree, this package follows the code, which
made the published numbers; docstrings name the differences.
"""
