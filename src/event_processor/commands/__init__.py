"""What ``event-processor`` does besides running: one file for each command, loaded when it is asked for.

A command's module has ``run(options)``, which returns the exit code: 0 done, 1 not done. What stands in the way is raised as
``PylibError``, in a sentence for whoever typed the command.
"""
