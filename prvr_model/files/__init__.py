"""Folders local and remote, locks, and writes that are whole or not there.

Offers `folder` (a place for files, local or S3), `checkpoint_header` (a checkpoint read without
torch), `array_files`, `partial_folder`, `file_lock` and `durable`.
"""
