"""From archives or a folder to media under official names and a frame cache."""
