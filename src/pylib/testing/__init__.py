"""Private brokers, faults, certificates and clocks for tests; only tests import this package.

Nothing here is imported by the library itself. Each module has one job:

=================  ==================================================================
``plugin``         the pytest fixtures
``mosquitto``      a private Mosquitto process
``rabbitmq``       a private RabbitMQ node
``erlang``         where RabbitMQ and Erlang's tools are installed
``faults``         a TCP proxy that refuses, freezes, resets, slows, cuts, and loses or repeats frames
``certificates``   a private certificate authority and good and bad certificates
``processes``      runs a program and waits for what it prints
``leaks``          what a test left behind: threads and file descriptors
``clock``          a clock that moves when the test says so
``ports``          free ports, and waiting for one to answer
``child``          one owned child process, ended by its own process id
``guard``          ends the children of a test run that was killed
=================  ==================================================================
"""
