"""The screen of `talk`, `listen` and `send` in a terminal."""
