"""What a person runs: one thin module per subcommand."""
