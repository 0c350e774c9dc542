"""The command line: one command a file, and the texts that it prints.

A command reads its options, calls one room, and shows what came out: the result on stdout, progress
and messages on stderr.
"""
