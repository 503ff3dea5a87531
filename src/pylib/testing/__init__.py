"""Private brokers, faults, certificates and clocks for tests; only tests import this package.

Nothing here is imported by the library itself. Each module has one job:

=================  ==================================================================
``plugin``         the pytest fixtures; docs/how-to/test-an-application.md shows them
``tester``         the fixture ``app``: send, await, look on (``published``, ``watchers``)
``embedded``       the embedded brokers of a test run, as new for each test
``mosquitto``      a private Mosquitto process
``rabbitmq``       a private RabbitMQ node; ``private`` is what the two have in common
``cluster``        several RabbitMQ nodes as one cluster
``erlang``         where RabbitMQ and Erlang's tools are installed
``faults``         a TCP proxy that refuses, freezes, slows, cuts, and loses or repeats frames
``engine``         its thread and its connections (``links``); ``frames`` finds the frames
``certificates``   a private certificate authority and good and bad certificates
``processes``      runs a program and waits for what it prints
``isolation``      a runtime of a test's own, and the proof that nothing of it is left
``leaks``          what a test left behind; ``origins`` says which line made it
``clock``          a clock that moves when the test says so
``ports``          free ports, and waiting for one to answer
``child``          one owned child process, ended by its own process id
``guard``          ends the children of a test run that was killed
``contract``       a port without a broker, and a port on a thread, for the ports' own tests
=================  ==================================================================
"""
