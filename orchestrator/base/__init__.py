"""What every room may use: errors, words, this machine and the home. It imports no other room.

Offers `errors` (with their exit codes), `text` (amounts in words), `machine` (what this process may
use, by its `cgroups` too), `holdings` (what other sweeps use), `installation` (versions), `home`
(its lock, outbox and option), `our_code` (modules that are run by name), `addresses` (paths that a
user gives, URLs of files), `sqlite_files` (finds truncated databases, creates new ones whole),
`notifier` (sends a message to a command or a webhook), `stopwatch` (where the time of a command
goes) and `collector` (Python's, held off).
"""
