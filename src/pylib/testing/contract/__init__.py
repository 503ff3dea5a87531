"""What tests of the ports share: a port without a broker, and a thread that owns a port and writes down what it hears."""
