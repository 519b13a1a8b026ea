"""Everything that a command, or a call from Python, can be told: one typed, frozen value for each.

An option is added in one place, as a field of a class in `groups` or `jobs`. From there come the command line with its
help, the keywords of `onnxprune.prune`, the keys of a configuration file and the reference in docs/cli.md.
"""
