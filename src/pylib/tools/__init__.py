"""The command ``pylib``: what a person does with a running application. One module per subcommand."""
