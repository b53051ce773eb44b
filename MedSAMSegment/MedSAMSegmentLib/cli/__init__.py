"""The command line ``medsamsegment``: one file a command."""
