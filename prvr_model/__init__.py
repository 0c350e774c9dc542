"""The MSC model for partially relevant video retrieval: data, mathematics and training loop."""
