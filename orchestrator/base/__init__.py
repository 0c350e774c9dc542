"""What every room may use: errors, words, this machine and the home. It imports no other room.

Offers `errors` (with their exit codes), `text` (amounts in words), `machine` (versions, packages,
hardware), `home` (its lock, outbox and option), `our_code` (modules that are run by name) and
`sqlite_files` (databases that are whole or not there).
"""
