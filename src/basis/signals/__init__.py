"""What is special about a kind of signal: how it is read, and in which units."""
