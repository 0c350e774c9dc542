"""The command line: one file per command, and the texts that commands print.

A command reads its options, calls one room and prints the result on stdout, progress and messages
on stderr.
"""
