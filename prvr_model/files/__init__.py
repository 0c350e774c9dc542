"""Local and remote folders, locks, and writes that appear whole or not at all.

Offers `location` (paths and URIs, told apart), `folder` (a folder of files, local or S3),
`checkpoint_header` (a checkpoint read without torch), `array_files`, `partial_folder`, `file_lock`
and `durable`.
"""
