"""The command ``sklearn-lntune``: one module per subcommand, read and shown by shared ones."""
